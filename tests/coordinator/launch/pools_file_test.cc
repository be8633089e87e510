// What the pools file says arrives, and everything wrong with it is named with its place.
#include "coordinator/launch/pools_file.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <random>

#include "tests/coordinator/launch/pools_sample.h"

namespace trainyard::coordinator {
namespace {

using testing::HasSubstr;
using testing::Pair;
using testing::UnorderedElementsAre;

constexpr char kSlurm[] = R"(pools:
  cluster:
    slurm:
      workers: 16
      partition: train,long
      account: vision
      qos: high
      gres: gpu:a100:1
      gpu_memory: 40GiB
      cores: 4
      memory: 16GiB
      time_limit: 1d12h
      folder: /shared/trainyard
      worker: /opt/trainyard/bin/trainyard-worker
      bin: /opt/slurm/bin
      environment: {SLURM_CONF: /etc/slurm.conf, SLURM_DEBUG: 1}
)";

TEST(PoolsFile, ASlurmPoolArrivesWhole) {
  const auto pools = PoolsFolder().Accepted(kSlurm);
  const auto& slurm = std::get<SlurmPool>(pools.at(0).kind);
  EXPECT_EQ(slurm.workers, 16);
  EXPECT_EQ(slurm.partition, "train,long");
  EXPECT_EQ(slurm.account, "vision");
  EXPECT_EQ(slurm.qos, "high");
  EXPECT_EQ(slurm.gres, "gpu:a100:1");
  EXPECT_TRUE(slurm.gpu());
  EXPECT_EQ(slurm.gpu_memory_bytes, int64_t{40} << 30);
  EXPECT_EQ(slurm.cores, 4);
  EXPECT_EQ(slurm.memory_bytes, int64_t{16} << 30);
  EXPECT_EQ(slurm.time_limit_ms, 36 * 3'600'000);
  EXPECT_EQ(slurm.folder, "/shared/trainyard");
  EXPECT_EQ(slurm.worker, "/opt/trainyard/bin/trainyard-worker");
  EXPECT_EQ(slurm.bin, "/opt/slurm/bin");
  EXPECT_THAT(slurm.environment, UnorderedElementsAre(Pair("SLURM_CONF", "/etc/slurm.conf"),
                                                      Pair("SLURM_DEBUG", "1")));
}

TEST(PoolsFile, SlurmDefaults) {
  const auto pools = PoolsFolder().Accepted("pools: {a: {slurm: {workers: 1, folder: /s}}}");
  const auto& slurm = std::get<SlurmPool>(pools.at(0).kind);
  EXPECT_FALSE(slurm.gpu());
  EXPECT_EQ(slurm.cores, 1);
  EXPECT_EQ(slurm.time_limit_ms, 0);
  EXPECT_EQ(slurm.worker, "trainyard-worker");
}

TEST(PoolsFile, Pools) {
  const std::string name = "expected a pool's name: 1 to 63 small letters, digits or -";
  ExpectRefusals({
      {"", "1:1: found an empty file, expected pools by name"},
      {"[]", "1:1: found a list, expected a map with pools"},
      {"pool: {}",
       "1:1: found the unknown key \"pool\", did you mean pools?\n"
       "pools.yaml:1:1: found no pools, expected a map of pools by name"},
      {"pools: {}", "1:8: pools: found 0 pools, expected a map of 1 to 100 pools by name"},
      {"pools: [a]", "1:8: pools: found a list, expected a map of 1 to 100 pools by name"},
      {"pools: {GPU: {}}", "1:9: pools: found \"GPU\", " + name},
      {"pools: {\"\": {}}", "1:9: pools: found \"\", " + name},
      {"pools: {\"\\e[2J\": {}}", "1:9: pools: found \"\\x1b[2J\", " + name},
      {"pools: {process: {}}",
       "1:9: pools: found \"process\", expected another name: those are the coordinator's own "
       "workers"},
      {"pools: {external: {}}",
       "1:9: pools: found \"external\", expected another name: those are the workers started by "
       "hand"},
      {"pools: {a: }", "1:12: pools.a: found neither docker nor slurm, expected one of them"},
      {"pools: {a: 5}",
       "1:12: pools.a: found 5, expected a map with docker, slurm, labels, data_roots or "
       "coordinator"},
      {"pools: {a: {docker: {hosts: [{name: h}]}, slurm: {workers: 1, folder: /s}}}",
       "1:12: pools.a: found both docker and slurm, expected one of them"},
      {"pools: {a: {dockr: 1}}",
       "1:12: pools.a: found neither docker nor slurm, expected one of them\n"
       "pools.yaml:1:13: pools.a: found the unknown key \"dockr\", did you mean docker?"},
      {"pools: {a: {slurm: {workers: 1, folder: /s}}, a: {}}",
       "1:47: found \"a\" a second time (first in line 1), expected it once"},
      {"pools: {a: &a {b: *a}}",
       "1:19: found an alias (*), expected the value itself: aliases are not supported"},
  });
}

// A pool with these keys beside its `slurm`.
std::string Pool(const std::string& keys) {
  return "pools: {a: {slurm: {workers: 1, folder: /s},\n" + keys + "}}";
}

TEST(PoolsFile, WhatEveryPoolHas) {
  const std::string address = ", expected host:port, such as trainyard.example:7700";
  ExpectRefusals({
      {Pool("labels: {a b: c}"),
       "2:10: pools.a.labels: found \"a b\", expected a label's name: 1 to 63 letters, digits, - "
       "or "
       "_, a letter or digit first"},
      {Pool("labels: {a: ''}"),
       "2:13: pools.a.labels.a: found \"\", expected a label's value: 1 to 63 letters, digits, ., "
       "- "
       "or _"},
      {Pool("labels: [a]"),
       "2:9: pools.a.labels: found a list, expected a map of at most 32 labels such as {site: "
       "berlin}"},
      {Pool("data_roots: /data"),
       "2:13: pools.a.data_roots: found \"/data\", expected a list of at most 100 folders"},
      {Pool("data_roots: [/a, data]"),
       "2:18: pools.a.data_roots[1]: found \"data\", expected an absolute path without .."},
      {Pool("data_roots: [/data/../etc]"),
       "2:14: pools.a.data_roots[0]: found \"/data/../etc\", expected an absolute path without .."},
      {Pool("coordinator: host"), "2:14: pools.a.coordinator: found \"host\"" + address},
      {Pool("coordinator: \"host:0\""), "2:14: pools.a.coordinator: found \"host:0\"" + address},
      {Pool("coordinator: \"host:65536\""),
       "2:14: pools.a.coordinator: found \"host:65536\"" + address},
      {Pool("coordinator: \"host:99999999999\""),
       "2:14: pools.a.coordinator: found \"host:99999999999\"" + address},
      {Pool("coordinator: \":7700\""), "2:14: pools.a.coordinator: found \":7700\"" + address},
      {Pool("coordinator: \"http://host:7700\""),
       "2:14: pools.a.coordinator: found \"http://host:7700\"" + address},
      {Pool("coordinator: [a]"), "2:14: pools.a.coordinator: found a list" + address},
  });
}

// A Slurm pool with these keys beside what it must have.
std::string Slurm(const std::string& keys) {
  return "pools: {a: {slurm: {workers: 1, folder: /s,\n" + keys + "}}}";
}

TEST(PoolsFile, SlurmPools) {
  const std::string slurm = "pools.a.slurm.";
  const std::string gres = ", expected gpu:1 or, with a type, gpu:a100:1";
  const std::string duration =
      ", expected a duration such as 90s, 30m, 2h or 1d12h, from 1m to 365d";
  ExpectRefusals({
      {"pools: {a: {slurm: {}}}",
       "1:20: pools.a.slurm: found no workers, expected how many workers there may be at a time\n"
       "pools.yaml:1:20: pools.a.slurm: found no folder, expected a folder that every node has at "
       "the same path"},
      {"pools: {a: {slurm: {workers: 0, folder: s}}}",
       "1:30: pools.a.slurm.workers: found 0, expected a whole number from 1 to 10000\n"
       "pools.yaml:1:41: pools.a.slurm.folder: found \"s\", expected an absolute path without .."},
      {Slurm("partition: \"a b\""),
       "2:12: " + slurm +
           "partition: found \"a b\", expected a partition's name, or several joined "
           "by commas"},
      {Slurm("account: --wrap=x"),
       "2:10: " + slurm + "account: found \"--wrap=x\", expected an account's name"},
      {Slurm("qos: \"a\\nb\""),
       "2:6: " + slurm + "qos: found \"a\\x0ab\", expected a quality of service's name"},
      {Slurm("gres: \"tpu:1\", gpu_memory: 8GiB"),
       "2:7: " + slurm + "gres: found \"tpu:1\"" + gres},
      {Slurm("gres: \"gpu:0\", gpu_memory: 8GiB"),
       "2:7: " + slurm + "gres: found \"gpu:0\"" + gres},
      {Slurm("gres: \"gpu:a100\", gpu_memory: 8GiB"),
       "2:7: " + slurm + "gres: found \"gpu:a100\"" + gres},
      {Slurm("gres: \"gpu:a:b:1\", gpu_memory: 8GiB"),
       "2:7: " + slurm + "gres: found \"gpu:a:b:1\"" + gres},
      {Slurm("gres: \"gpu:1\""),
       "1:20: pools.a.slurm: found no gpu_memory, expected the memory of "
       "the GPU, such as 40GiB"},
      {Slurm("gpu_memory: 8GiB"),
       "2:13: " + slurm + "gpu_memory: found gpu_memory without gres, expected both or neither"},
      {Slurm("cores: 0"),
       "2:8: " + slurm + "cores: found 0, expected a whole number from 1 to 1024"},
      {Slurm("time_limit: 4"), "2:13: " + slurm + "time_limit: found 4" + duration},
      {Slurm("time_limit: 59s"), "2:13: " + slurm + "time_limit: found \"59s\"" + duration},
      {Slurm("time_limit: 366d"), "2:13: " + slurm + "time_limit: found 366d" + duration},
      {Slurm("time_limit: \"04:00:00\""),
       "2:13: " + slurm + "time_limit: found \"04:00:00\"" + duration},
      {Slurm("worker: bin/worker"),
       "2:9: " + slurm + "worker: found \"bin/worker\", expected an absolute path without .."},
      {Slurm("worker: \"a;b\""),
       "2:9: " + slurm + "worker: found \"a;b\", expected a program's name or absolute path"},
      {Slurm("bin: slurm"),
       "2:6: " + slurm + "bin: found \"slurm\", expected an absolute path without .."},
      {Slurm("environment: [A]"),
       "2:14: " + slurm +
           "environment: found a list, expected a map of at most 100 variables such as "
           "{SLURM_CONF: /etc/slurm/slurm.conf}"},
      {Slurm("environment: {A=B: c}"),
       "2:15: " + slurm +
           "environment: found \"A=B\", expected a variable's name: 1 to 63 letters, "
           "digits or _, no digit first"},
      {Slurm("environment: {A: [b]}"),
       "2:18: " + slurm + "environment.A: found a list, expected text"},
  });
}

TEST(PoolsFile, EveryProblemIsListedByLine) {
  EXPECT_EQ(
      PoolsFolder().Refusal("pools:\n"
                            "  a: {slurm: {workers: none, folder: /s}}\n"
                            "  b: {docker: {hosts: [{name: h, cores: x}]}, label: {}}\n"),
      "pools.yaml:2:24: pools.a.slurm.workers: found \"none\", expected a whole number from 1 "
      "to 10000\n"
      "pools.yaml:3:41: pools.b.docker.hosts[0].cores: found \"x\", expected a finite number\n"
      "pools.yaml:3:47: pools.b: found the unknown key \"label\", did you mean labels?");
}

TEST(PoolsFile, LimitsOfEverything) {
  const PoolsFolder folder;
  const auto repeat = [](int times, const auto& make) {
    std::string text;
    for (int i = 0; i < times; ++i) text += (i > 0 ? ", " : "") + make(std::to_string(i));
    return text;
  };
  const std::string pools = repeat(
      101, [](const std::string& i) { return "p" + i + ": {slurm: {workers: 1, folder: /s}}"; });
  EXPECT_THAT(folder.Refusal("pools: {" + pools + "}"),
              HasSubstr("found 101 pools, expected a map of 1 to 100"));
  const std::string hosts = repeat(
      1'001, [](const std::string& i) { return "{name: h" + i + ", url: 'unix:///s" + i + "'}"; });
  EXPECT_THAT(folder.Refusal(Hosts("[" + hosts + "]")),
              HasSubstr("found a list of 1001, expected"));
  const std::string gpus = repeat(65, [](const std::string& i) { return i; });
  EXPECT_THAT(folder.Refusal(Host("gpus: [" + gpus + "], gpu_memory: 1GiB")),
              HasSubstr("gpus: found a list of 65, expected a list of at most 64 GPUs"));
  EXPECT_THAT(folder.Refusal(std::string((1 << 20) + 1, ' ')),
              HasSubstr("found a file of 1048577 bytes"));
  EXPECT_THAT(folder.Refusal("pools: " + std::string(100'000, '[')), HasSubstr("pools.yaml:1:"));
}

TEST(PoolsFile, IsReadFromItsPath) {
  const PoolsFolder folder;
  const std::string path = folder.folder().Write("pools.yaml", kDocker);
  const auto pools = ReadPools(path);
  ASSERT_TRUE(pools.ok()) << pools.status();
  EXPECT_EQ(std::get<DockerPool>(pools->at(0).kind).hosts[0].tls_ca, folder.folder() / "ca.pem");
}

TEST(PoolsFile, AFileThatCannotBeReadIsNamed) {
  const TempFolder folder;
  const std::string missing = folder / "pools.yaml";
  EXPECT_EQ(ReadPools(missing).status().message(),
            missing +
                ": found nothing that can be read (No such file or directory), expected a file "
                "of pools");
  EXPECT_EQ(ReadPools(folder.path()).status().message(),
            folder.path().string() + ": found no regular file, expected a file of pools");
  ASSERT_EQ(mkfifo(missing.c_str(), 0600), 0);
  EXPECT_THAT(std::string(ReadPools(missing).status().message()),
              HasSubstr("found no regular file"))
      << "and nobody waits for a writer";
  const std::string big = folder.Write("big.yaml", std::string(3 << 20, '#'));
  EXPECT_THAT(std::string(ReadPools(big).status().message()),
              HasSubstr("expected at most 1048576"));
}

// Damaged files never crash the reader, and a refusal always has a place.
TEST(PoolsFile, RandomDamage) {
  const PoolsFolder folder;
  const std::string bits[] = {"{",  "}",    "[",  "]", ": ",  "- ", "*a", "&a ",  "\n",   "  ",
                              "\"", "!!x ", "-1", "~", "GiB", "0",  "..", "\x80", "null", ","};
  int refused = 0;
  for (int seed = 0; seed < 3'000; ++seed) {
    std::mt19937 random(seed);
    std::string text = seed % 2 == 0 ? kDocker : kSlurm;
    for (int change = 0; change < 3; ++change) {
      const size_t at = random() % text.size();
      if (random() % 3 == 0) {
        text.erase(at, random() % 4);
      } else {
        text.insert(at, bits[random() % std::size(bits)]);
      }
    }
    if (folder.Read(text).ok()) continue;
    ++refused;
    ASSERT_THAT(folder.Refusal(text), testing::StartsWith("pools.yaml:")) << text;
  }
  EXPECT_GT(refused, 1'000);
}

}  // namespace
}  // namespace trainyard::coordinator
