// Docker pools of the pools file: what is written arrives, and what is wrong is named with its
// place.
#include <gmock/gmock.h>

#include "tests/coordinator/launch/pools_sample.h"

namespace trainyard::coordinator {
namespace {

using testing::ElementsAre;
using testing::Pair;
using testing::UnorderedElementsAre;

TEST(PoolsDocker, ADockerPoolArrivesWhole) {
  const PoolsFolder folder;
  const auto pools = folder.Accepted(kDocker);
  ASSERT_EQ(pools.size(), 1u);
  EXPECT_EQ(pools[0].name, "gpu");
  EXPECT_THAT(pools[0].labels, UnorderedElementsAre(Pair("gpu", "h100"), Pair("rack", "7")));
  EXPECT_THAT(pools[0].data_roots, ElementsAre("/data", "/mnt/x"));
  EXPECT_EQ(pools[0].coordinator, "[fd00::1]:7700");
  const auto& docker = std::get<DockerPool>(pools[0].kind);
  EXPECT_EQ(docker.images.at("native"), "registry.example:5000/trainyard/worker-cuda:0.1.0");
  ASSERT_EQ(docker.hosts.size(), 2u);
  const DockerHost& host = docker.hosts[0];
  EXPECT_EQ(host.name, "gpu1");
  EXPECT_EQ(host.url, "tcp://gpu1.example:2376");
  EXPECT_EQ(host.tls_ca, folder.folder() / "ca.pem") << "beside the pools file";
  EXPECT_EQ(host.tls_cert, folder.folder() / "cert.pem");
  EXPECT_EQ(host.tls_key, folder.folder() / "key.pem");
  EXPECT_THAT(host.gpus, ElementsAre("GPU-1234-ab", "MIG-5678-cd"));
  EXPECT_EQ(host.gpu_memory_bytes, int64_t{80} << 30);
  EXPECT_EQ(host.cpu_slots, 3);
  EXPECT_EQ(host.slots(), 5);
  EXPECT_EQ(host.cores, 7.5);
  EXPECT_EQ(host.memory_bytes, 64'000'000'000);
}

TEST(PoolsDocker, AHostWithoutMoreIsThisMachinesDaemonWithOneSlot) {
  const auto pools = PoolsFolder().Accepted("pools: {a: {docker: {hosts: [{name: here}]}}}");
  const auto& docker = std::get<DockerPool>(pools.at(0).kind);
  EXPECT_EQ(docker.hosts[0].url, "unix:///var/run/docker.sock");
  EXPECT_EQ(docker.hosts[0].cpu_slots, 1);
  EXPECT_EQ(docker.hosts[0].slots(), 1);
  EXPECT_EQ(docker.hosts[0].cores, 0);
  EXPECT_EQ(docker.hosts[0].memory_bytes, 0);
  EXPECT_THAT(docker.images.at("native"), testing::StartsWith("trainyard/worker-cpu:"));
}

TEST(PoolsDocker, AHostWithGpusHasASlotForEachAndTheCudaImage) {
  const auto pools = PoolsFolder().Accepted(
      "pools: {a: {docker: {hosts: [{name: cpu, url: 'tcp://localhost:2375'}, "
      "{name: gpu, gpus: [0, 12], gpu_memory: 8GiB}]}}}");
  const auto& docker = std::get<DockerPool>(pools.at(0).kind);
  EXPECT_EQ(docker.hosts[1].cpu_slots, 0);
  EXPECT_EQ(docker.hosts[1].slots(), 2);
  EXPECT_THAT(docker.hosts[1].gpus, ElementsAre("0", "12"));
  EXPECT_THAT(docker.images.at("native"), testing::StartsWith("trainyard/worker-cuda:"));
}

TEST(PoolsDocker, TwoPoolsMayShareAHostButNotItsGpus) {
  const std::string head =
      "pools:\n  a: {docker: {hosts: [{name: h, gpus: [0], gpu_memory: 8GiB}]}}\n";
  EXPECT_EQ(
      PoolsFolder()
          .Accepted(head + "  b: {docker: {hosts: [{name: h, gpus: [1], gpu_memory: 8GiB}]}}\n")
          .size(),
      2u);
  EXPECT_EQ(
      PoolsFolder().Refusal(head +
                            "  b: {docker: {hosts: [{name: g, gpus: [0], gpu_memory: 8GiB}]}}\n"),
      "pools.yaml:3:6: pools.b: found GPU \"0\" of \"unix:///var/run/docker.sock\", which pool "
      "a has too, expected each GPU in one pool");
}

TEST(PoolsDocker, Hosts) {
  const std::string host = "pools.a.docker.hosts[0]";
  ExpectRefusals({
      {"pools: {a: {docker: {}}}",
       "1:21: pools.a.docker: found no hosts, expected a list of Docker hosts"},
      {"pools: {a: {docker: here}}",
       "1:21: pools.a.docker: found \"here\", expected a map with images, hosts or programs"},
      {Hosts("[]"),
       "2:1: pools.a.docker.hosts: found a list of 0, expected a list of 1 to 1000 hosts"},
      {Hosts("here"),
       "2:1: pools.a.docker.hosts: found \"here\", expected a list of 1 to 1000 hosts"},
      {Hosts("[here]"),
       "2:2: " + host +
           ": found \"here\", expected a map with name, url, tls, gpus, gpu_memory, "
           "cpu_slots, cores or memory"},
      {Hosts("[{}]"), "2:2: " + host + ": found no name, expected what the host is called here"},
      {Hosts("[{name: a/b}]"),
       "2:9: " + host +
           ".name: found \"a/b\", expected a host's name: 1 to 63 letters, digits, ., - "
           "or _"},
      {Hosts("[{name: -a}]"),
       "2:9: " + host +
           ".name: found \"-a\", expected a host's name: 1 to 63 letters, digits, ., - "
           "or _"},
      {Hosts("[{name: a}, {name: a, url: unix:///b}]"),
       "2:20: pools.a.docker.hosts[1].name: found \"a\" a second time, expected different names"},
      {Hosts("[{name: a}, {name: b}]"),
       "2:13: pools.a.docker.hosts[1].url: found \"unix:///var/run/docker.sock\" a second time, "
       "expected each Docker daemon once: give it more slots instead"},
      {Hosts("[{name: a, slots: 4}]"),
       "2:12: " + host +
           ": found the unknown key \"slots\", expected name, url, tls, gpus, "
           "gpu_memory, cpu_slots, cores or memory"},
      {Hosts("[{name: a, cpus: 4}]"),
       "2:12: " + host + ": found the unknown key \"cpus\", did you mean cores?"},
  });
}

TEST(PoolsDocker, WhereADockerDaemonListens) {
  const std::string host = "pools.a.docker.hosts[0].";
  const std::string form =
      ", expected tcp://host:port or unix:// with the absolute path of a socket";
  const std::string tls = "tls: {ca: ca.pem, cert: cert.pem, key: key.pem}";
  const std::string open =
      " without tls, expected tls: {ca: ..., cert: ..., key: ...}: who reaches a Docker daemon "
      "rules "
      "its host";
  ExpectRefusals({
      {Host("url: /var/run/docker.sock"),
       "3:6: " + host + "url: found \"/var/run/docker.sock\"" + form},
      {Host("url: \"https://gpu1:2376\""),
       "3:6: " + host + "url: found \"https://gpu1:2376\"" + form},
      {Host("url: \"tcp://gpu1\""), "3:6: " + host + "url: found \"tcp://gpu1\"" + form},
      {Host("url: \"tcp://a b:1\""), "3:6: " + host + "url: found \"tcp://a b:1\"" + form},
      {Host("url: \"unix://docker.sock\""),
       "3:6: " + host + "url: found \"unix://docker.sock\"" + form},
      {Host("url: [a]"), "3:6: " + host + "url: found a list, expected text"},
      {Host("url: \"tcp://gpu1:2376\""), "3:6: " + host + "url: found \"tcp://gpu1:2376\"" + open},
      {Host("url: \"tcp://localhost.evil.example:1\""),
       "3:6: " + host + "url: found \"tcp://localhost.evil.example:1\"" + open},
      {Host("url: \"tcp://127.0.0.1.evil.example:1\""),
       "3:6: " + host + "url: found \"tcp://127.0.0.1.evil.example:1\"" + open},
      {Host(tls), "3:6: " + host + "tls: found tls for a Unix socket, expected it for tcp:// only"},
      {Host("url: \"tcp://gpu1:2376\", tls: yes"),
       "3:30: " + host + "tls: found \"yes\", expected a map with ca, cert or key"},
      {Host("url: \"tcp://gpu1:2376\", tls: {ca: ca.pem, cert: cert.pem}"),
       "3:30: " + host + "tls: found no key, expected a PEM file"},
      {Host("url: \"tcp://gpu1:2376\", tls: {ca: ca.pem, cert: cert.pem, key: no.pem}"),
       "3:64: " + host +
           "tls.key: found \"no.pem\", expected a PEM file that can be read (no.pem: "
           "No such file or directory)"},
      {Host("url: \"tcp://gpu1:2376\", tls: {ca: ., cert: cert.pem, key: key.pem}"),
       "3:35: " + host +
           "tls.ca: found \".\", expected a PEM file that can be read (: not a regular "
           "file)"},
  });
  for (const char* url : {"tcp://127.0.0.1:2375", "tcp://[::1]:2375", "tcp://localhost:2375"}) {
    PoolsFolder().Accepted(Host(std::string("url: \"") + url + '"'));
  }
}

TEST(PoolsDocker, WhatAHostHas) {
  const std::string host = "pools.a.docker.hosts[0].";
  const std::string gpu =
      ", expected a GPU as `nvidia-smi -L` names it: an index such as 0, or GPU-... or MIG-...";
  const std::string size =
      ", expected a size with its unit (MiB, GiB, MB or GB) such as 12GiB, from 1MiB to 65536GiB";
  const std::string memory = ", gpu_memory: 8GiB";
  ExpectRefusals({
      {Host("gpus: 0" + memory),
       "3:7: " + host + "gpus: found 0, expected a list of at most 64 GPUs"},
      {Host("gpus: [all]" + memory), "3:8: " + host + "gpus[0]: found \"all\"" + gpu},
      {Host("gpus: [-1]" + memory), "3:8: " + host + "gpus[0]: found -1" + gpu},
      {Host("gpus: [00]" + memory), "3:8: " + host + "gpus[0]: found 00" + gpu},
      {Host("gpus: [\"GPU-x\"]" + memory), "3:8: " + host + "gpus[0]: found \"GPU-x\"" + gpu},
      {Host("gpus: [GPU-]" + memory), "3:8: " + host + "gpus[0]: found \"GPU-\"" + gpu},
      {Host("gpus: [1, 1]" + memory), "3:11: " + host + "gpus[1]: found 1, expected each GPU once"},
      {Host("gpus: [0, GPU-1a]" + memory),
       "3:11: " + host +
           "gpus[1]: found \"GPU-1a\", expected either indexes or UUIDs: both may mean "
           "the same GPU"},
      {Host("gpus: [0]"),
       "2:2: pools.a.docker.hosts[0]: found no gpu_memory, expected the memory of "
       "each GPU, such as 80GiB"},
      {Host("gpu_memory: 8GiB"),
       "3:13: " + host + "gpu_memory: found gpu_memory without gpus, expected both or neither"},
      {Host("gpus: [0], gpu_memory: 80"), "3:24: " + host + "gpu_memory: found 80" + size},
      {Host("memory: -1GiB"), "3:9: " + host + "memory: found \"-1GiB\"" + size},
      {Host("memory: 99999999999999999999GiB"),
       "3:9: " + host + "memory: found \"99999999999999999999GiB\"" + size},
      {Host("cpu_slots: 0"),
       "3:12: " + host + "cpu_slots: found 0 without gpus, expected a slot at least"},
      {Host("cpu_slots: -1"),
       "3:12: " + host + "cpu_slots: found -1, expected a whole number from 0 to 1024"},
      {Host("cpu_slots: 99999"),
       "3:12: " + host + "cpu_slots: found 99999, expected a whole number from 0 to 1024"},
      {Host("cores: 0"), "3:8: " + host + "cores: found 0, expected a number from 0.1 to 1024"},
      {Host("cores: many"), "3:8: " + host + "cores: found \"many\", expected a finite number"},
  });
}

TEST(PoolsDocker, Images) {
  const auto images = [](const std::string& text) {
    return "pools: {a: {docker: {hosts: [{name: h}],\nimages: " + text + "}}}";
  };
  const std::string any =
      "any of native, program-keras, program-other, program-sklearn, program-torch";
  const std::string form =
      ", expected an image such as registry.example/trainyard/worker-cuda:0.1.0 or ...@sha256:...";
  ExpectRefusals({
      {images("worker"),
       "2:9: pools.a.docker.images: found \"worker\", expected a map with " + any},
      {images("{}"), "2:9: pools.a.docker.images: found a map, expected a map with " + any},
      {images("{jax: a}"),
       "2:10: pools.a.docker.images: found the unknown runtime \"jax\", expected " + any},
      {images("{program: a}"),
       "2:10: pools.a.docker.images: found the unknown runtime \"program\", expected " + any},
      {images("{native: }"), "2:18: pools.a.docker.images.native: found nothing" + form},
      {images("{native: a b}"), "2:18: pools.a.docker.images.native: found \"a b\"" + form},
      {images("{native: --privileged}"),
       "2:18: pools.a.docker.images.native: found \"--privileged\"" + form},
      {images("{native: \"a?b\"}"), "2:18: pools.a.docker.images.native: found \"a?b\"" + form},
  });
}

TEST(PoolsDocker, WithoutImagesEachRuntimeHasItsOwnAndWithThemThereAreNoOthers) {
  const auto keys = [](const std::string& more) {
    std::vector<std::string> keys;
    const auto pools =
        PoolsFolder().Accepted("pools: {a: {docker: {hosts: [{name: h}]" + more + "}}}");
    for (const auto& [runtime, image] : std::get<DockerPool>(pools.at(0).kind).images) {
      keys.push_back(runtime);
    }
    return keys;
  };
  EXPECT_THAT(keys(""), ElementsAre("native", "program-keras", "program-sklearn", "program-torch"));
  EXPECT_THAT(keys(", images: {program-other: mine}"), ElementsAre("program-other"));
}

TEST(PoolsDocker, WhatContainersForProgramsGet) {
  const auto with = [](const std::string& programs) {
    return "pools: {a: {docker: {hosts: [{name: h}],\nprograms: " + programs + "}}}";
  };
  const auto pools =
      PoolsFolder().Accepted(with("{network: inner.net_1, processes: 64, work_size: 2GiB}"));
  const ProgramContainers& programs = std::get<DockerPool>(pools.at(0).kind).programs;
  EXPECT_EQ(programs.network, "inner.net_1");
  EXPECT_EQ(programs.processes, 64);
  EXPECT_EQ(programs.work_size_bytes, int64_t{2} << 30);
  const std::string here = "pools.a.docker.programs";
  ExpectRefusals({
      {with("inner"),
       "2:11: " + here + ": found \"inner\", expected a map with network, processes or work_size"},
      {with("{network: host}"), "2:21: " + here +
                                    ".network: found \"host\", expected a network of containers: "
                                    "this one is the host's own"},
      {with("{network: none}"), "2:21: " + here +
                                    ".network: found \"none\", expected a network of containers: "
                                    "from this one nothing is reached"},
      {with("{network: \"container:x\"}"),
       "2:21: " + here + ".network: found \"container:x\", expected the name of a Docker network"},
      {with("{processes: 1}"),
       "2:23: " + here + ".processes: found 1, expected a whole number from 64 to 1000000"},
      {with("{work_size: 1}"),
       "2:23: " + here +
           ".work_size: found 1, expected a size with its unit (MiB, GiB, MB or GB) such as 12GiB, "
           "from 1MiB to 65536GiB"},
  });
}

}  // namespace
}  // namespace trainyard::coordinator
