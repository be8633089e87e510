// Checkpoints come back as they were written, and nothing altered, cut off or made up is accepted.
#include "worker/engine/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <limits>

#include "tests/worker/engine/support/examples.h"
#include "worker/engine/safetensors.h"

namespace trainyard::engine {
namespace {

using Role = network::Parameter::Role;

Checkpoint SmallCheckpoint() {
  Checkpoint checkpoint;
  checkpoint.spec_hash = "abc\"\\\n\x01 ü";
  checkpoint.step = 1234567890123;
  checkpoint.epoch = 7;
  checkpoint.end_of_epoch = true;
  checkpoint.seed = std::numeric_limits<uint64_t>::max();
  checkpoint.fingerprint = "cpu threads=2";
  checkpoint.exact = false;
  checkpoint.epoch_loss_sum = 0.1 + 0.2;
  checkpoint.epoch_correct = 5;
  checkpoint.epoch_images = 9;
  checkpoint.epoch_gradient_norms = 1.0 / 7;
  checkpoint.update_ratio = 1e-3 / 3;
  checkpoint.dead_units = 0.25;
  checkpoint.adjusted = {{12, 0xFEDCBA9876543210}, {12, 0}, {1234567890122, 7}};
  checkpoint.normalise_mean = {0.1f, 1.0f / 3};
  checkpoint.normalise_inverse_std = {3.5f, 1e-38f};
  checkpoint.parameters = {{"layers.0.weight", Role::kWeight, {2, 1, 1, 3}},
                           {"layers.0.bias", Role::kBias, {2}},
                           {"layers.1.gamma", Role::kGamma, {2}},
                           {"layers.1.beta", Role::kBeta, {2}},
                           {"layers.1.running_mean", Role::kRunningMean, {2}},
                           {"layers.1.running_var", Role::kRunningVar, {2}}};
  for (int i = 0; i < 12; ++i) {
    checkpoint.state.parameters.push_back(0.37f * i);
    checkpoint.state.moment1.push_back(-0.11f * i);
    checkpoint.state.moment2.push_back(1e-30f * i);
  }
  checkpoint.state.statistics = {1, 2, 3, 4};
  return checkpoint;
}

// `bytes` with a header of the given JSON and the checksum that fits, so that only what the JSON
// says can be wrong.
std::string WithHeader(const std::string& json_after_checksum, size_t data_bytes) {
  std::string header = R"({"__metadata__":{"checksum":"0000000000000000"})" + json_after_checksum;
  const uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof length);
  file += header + std::string(data_bytes, '\0');
  try {
    ParseSafetensors(file);
  } catch (const kernels::Error& error) {
    // The complaint says what the checksum would have to be.
    const std::string text = error.what();
    const size_t at = text.find("expected ") + 9;
    file.replace(8 + strlen(R"({"__metadata__":{"checksum":")"), 16, text.substr(at, 16));
  }
  return file;
}

TEST(Checkpoint, ComesBackAsItWasWritten) {
  const Checkpoint written = SmallCheckpoint();
  const std::string bytes = SerializeCheckpoint(written);
  const Checkpoint read = ParseCheckpoint(bytes);
  EXPECT_EQ(read.spec_hash, written.spec_hash);
  EXPECT_EQ(read.step, written.step);
  EXPECT_EQ(read.epoch, written.epoch);
  EXPECT_EQ(read.end_of_epoch, written.end_of_epoch);
  EXPECT_EQ(read.seed, written.seed);
  EXPECT_EQ(read.fingerprint, written.fingerprint);
  EXPECT_EQ(read.exact, written.exact);
  EXPECT_EQ(read.epoch_loss_sum, written.epoch_loss_sum);
  EXPECT_EQ(read.epoch_correct, written.epoch_correct);
  EXPECT_EQ(read.epoch_images, written.epoch_images);
  EXPECT_EQ(read.epoch_gradient_norms, written.epoch_gradient_norms);
  EXPECT_EQ(read.update_ratio, written.update_ratio);
  EXPECT_EQ(read.dead_units, written.dead_units);
  EXPECT_EQ(read.adjusted, written.adjusted);
  EXPECT_EQ(read.normalise_mean, written.normalise_mean);
  EXPECT_EQ(read.normalise_inverse_std, written.normalise_inverse_std);
  ASSERT_EQ(read.parameters.size(), written.parameters.size());
  for (size_t i = 0; i < read.parameters.size(); ++i) {
    EXPECT_EQ(read.parameters[i].name, written.parameters[i].name);
    EXPECT_EQ(read.parameters[i].role, written.parameters[i].role);
    EXPECT_EQ(read.parameters[i].dims, written.parameters[i].dims);
  }
  EXPECT_EQ(read.state.parameters, written.state.parameters);
  EXPECT_EQ(read.state.statistics, written.state.statistics);
  EXPECT_EQ(read.state.moment1, written.state.moment1);
  EXPECT_EQ(read.state.moment2, written.state.moment2);
  EXPECT_EQ(SerializeCheckpoint(read), bytes);
}

TEST(Checkpoint, EveryTruncationIsRefused) {
  const std::string bytes = SerializeCheckpoint(SmallCheckpoint());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(ParseCheckpoint(std::string_view(bytes).substr(0, size)), kernels::Error) << size;
  }
  EXPECT_THROW(ParseCheckpoint(bytes + '\0'), kernels::Error);
}

TEST(Checkpoint, EveryFlippedBitIsNoticed) {
  std::string bytes = SerializeCheckpoint(SmallCheckpoint());
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      bytes[i] = static_cast<char>(bytes[i] ^ 1 << bit);
      EXPECT_THROW(ParseCheckpoint(bytes), kernels::Error) << "byte " << i << " bit " << bit;
      bytes[i] = static_cast<char>(bytes[i] ^ 1 << bit);
    }
  }
  ParseCheckpoint(bytes);
}

TEST(Checkpoint, HeaderLengthBeyondTheFileIsRefusedWithItsOffset) {
  std::string bytes = SerializeCheckpoint(SmallCheckpoint());
  for (uint64_t length : {~uint64_t{0}, uint64_t{1} << 63, bytes.size() - 7}) {
    std::memcpy(bytes.data(), &length, sizeof length);
    EXPECT_TRUE(ThrowsNaming([&] { ParseCheckpoint(bytes); },
                             {"byte 0", std::to_string(length), "at most"}));
  }
}

TEST(Safetensors, ShapeWhoseProductOverflowsIsRefused) {
  // 2^62 * 4 * 4 bytes is 0 modulo 2^64; 2^32 * 2^32 likewise.
  for (const char* shape : {"4611686018427387904,4", "4294967296,4294967296"}) {
    const std::string file = WithHeader(std::string(R"(,"a.weight":{"dtype":"F32","shape":[)") +
                                            shape + R"(],"data_offsets":[0,0]}})",
                                        0);
    EXPECT_TRUE(ThrowsNaming([&] { ParseSafetensors(file); }, {"a.weight", "0 bytes"}));
  }
}

TEST(Safetensors, TensorsThatOverlapLeaveHolesOrReachTooFarAreRefused) {
  const auto with_offsets = [](const std::string& a, const std::string& b) {
    return WithHeader(R"(,"a":{"dtype":"F32","shape":[2],"data_offsets":)" + a +
                          R"(},"b":{"dtype":"F32","shape":[2],"data_offsets":)" + b + "}}",
                      16);
  };
  EXPECT_EQ(ParseSafetensors(with_offsets("[0,8]", "[8,16]")).tensors.size(), 2u);
  EXPECT_EQ(ParseSafetensors(with_offsets("[8,16]", "[0,8]")).tensors[0].name, "b");
  for (const auto& [a, b] :
       {std::pair("[0,8]", "[4,12]"), std::pair("[0,8]", "[0,8]"), std::pair("[0,8]", "[12,20]"),
        std::pair("[0,8]", "[8,0]"), std::pair("[0,8]", "[8,4611686018427387904]"),
        std::pair("[1,9]", "[9,17]"), std::pair("[0,4]", "[4,12]")}) {
    EXPECT_TRUE(ThrowsNaming([&] { ParseSafetensors(with_offsets(a, b)); }, {"tensor \""}))
        << a << b;
  }
}

TEST(Safetensors, HeaderOfAnotherFormIsRefused) {
  const std::vector<std::string> tails = {
      R"(,"a":{"dtype":"F16","shape":[2],"data_offsets":[0,8]}})",
      R"(,"a":{"shape":[2],"data_offsets":[0,8]}})",
      R"(,"a":{"dtype":"F32","data_offsets":[0,8]}})",
      R"(,"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})",
      R"(,"a":{"dtype":"F32","shape":[2]}})",
      R"(,"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}})",
      R"(,"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})",
      R"(,"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})",
      R"(,"a":{"dtype":"F32","shape":[1e1],"data_offsets":[0,8]}})",
      R"(,"a":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,8]}})",
      R"(,"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})",
      R"(,"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}})",
      R"(,"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}})",
      R"(,"a":{"dtype":"F32","shape":{"x":2},"data_offsets":[0,8]}})",
      R"(,"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}})",
      R"(,"a":[2]})",
      R"(,"a":null})",
      R"(,"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})",
      R"(,"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}})",
      R"(,"__metadata__":{}})",
      R"(})",
  };
  for (const std::string& tail : tails) {
    EXPECT_THROW(ParseSafetensors(WithHeader(tail, 8)), kernels::Error) << tail;
  }
}

TEST(Safetensors, DeeplyNestedHeaderIsRefusedAtItsThirdLevel) {
  const std::string deep(1 << 20, '[');
  const std::string file = WithHeader(R"(,"a":{"shape":)" + deep, 0);
  EXPECT_TRUE(ThrowsNaming([&] { ParseSafetensors(file); }, {"\"a\"", "an array"}));
}

TEST(Checkpoint, MissingOrMeaninglessMetadataIsRefusedByKey) {
  const std::vector<float> value{1};
  const auto file = [&](Metadata metadata) {
    return WriteSafetensors({{"layers.0.weight", {1}, value}}, metadata);
  };
  EXPECT_TRUE(ThrowsNaming([&] { ParseCheckpoint(file({})); }, {"\"format\"", "missing"}));
  EXPECT_TRUE(ThrowsNaming(
      [&] {
        ParseCheckpoint(file({{"format", "other"}}));
      },
      {"\"format\"", "\"other\"", "trainyard-checkpoint-1"}));
  const auto with_step = [&](const std::string& step) {
    return file({{"format", "trainyard-checkpoint-1"}, {"spec_hash", ""}, {"step", step}});
  };
  for (const char* step : {"-1", "", "1x", "99999999999999999999", " 1"}) {
    EXPECT_TRUE(ThrowsNaming([&] { ParseCheckpoint(with_step(step)); }, {"\"step\""})) << step;
  }
}

TEST(Checkpoint, AdjustmentsThatMeanNothingAreRefused) {
  const std::string bytes = SerializeCheckpoint(SmallCheckpoint());
  std::map<std::string, std::string> metadata = ParseSafetensors(bytes).metadata;
  metadata.erase("checksum");
  const std::vector<float> value{1};
  for (const char* adjusted :
       {"12", "12:", ":1", "x:1", "12:xyz", "1:2,3:4", "12:11112222333344445"}) {
    metadata["adjusted"] = adjusted;
    const std::string file = WriteSafetensors({{"layers.0.weight", {1}, value}},
                                              Metadata(metadata.begin(), metadata.end()));
    EXPECT_TRUE(ThrowsNaming([&] { ParseCheckpoint(file); }, {"\"adjusted\""})) << adjusted;
  }
}

TEST(Checkpoint, ModelHasWeightsAndStatisticsOnly) {
  const std::string bytes = SerializeModel(SmallCheckpoint(), {{"classes", "shoe,shirt"}});
  const SafetensorsFile file = ParseSafetensors(bytes);
  EXPECT_EQ(file.tensors.size(), 6u);
  EXPECT_EQ(file.metadata.at("classes"), "shoe,shirt");
  std::vector<float> weight;
  AppendValues(bytes, file.tensors[0], &weight);
  EXPECT_EQ(weight.size(), 6u);
  EXPECT_EQ(weight[1], 0.37f);
}

TEST(AtomicFile, ReplacesTheOldFileAndLeavesNothingElse) {
  const TemporaryFolder folder;
  const std::string path = folder.File("checkpoint");
  WriteFileAtomically(path, "one");
  WriteFileAtomically(path, "two");
  EXPECT_EQ(ReadBytes(path), "two");
  const auto entries = std::filesystem::directory_iterator(folder.path());
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 1);
}

TEST(AtomicFile, FullDiskKeepsTheOldFileAndLeavesNothingElse) {
  const TemporaryFolder folder;
  const std::string path = folder.File("checkpoint");
  WriteFileAtomically(path, "old");
  // A limit on file sizes fails a write halfway, as a full disk does.
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto result = ThrowsNaming([&] { WriteFileAtomically(path, std::string(5000, 'x')); },
                                   {path, "cannot be written", "4000 bytes left"});
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(result);
  EXPECT_EQ(ReadBytes(path), "old");
  const auto entries = std::filesystem::directory_iterator(folder.path());
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 1);
}

// In another container, say.
TEST(AtomicFile, HalfFilesOfAnotherProcessOfTheSameNumberAreLeftAlone) {
  const TemporaryFolder folder;
  const std::string path = folder.File("checkpoint");
  const std::string others = path + ".tmp-" + std::to_string(getpid()) + "-";
  constexpr int kOthers = 1000;
  for (int i = 0; i < kOthers; ++i) WriteBytes(others + std::to_string(i), "half");
  WriteFileAtomically(path, "whole");
  EXPECT_EQ(ReadBytes(path), "whole");
  for (int i = 0; i < kOthers; ++i) ASSERT_EQ(ReadBytes(others + std::to_string(i)), "half") << i;
}

TEST(AtomicFile, MissingFolderIsNamed) {
  const TemporaryFolder folder;
  EXPECT_TRUE(ThrowsNaming([&] { WriteFileAtomically(folder.File("no/where"), "x"); },
                           {"no/where", "No such file"}));
}

TEST(ReadCheckpoint, NamesTheFile) {
  const TemporaryFolder folder;
  WriteBytes(folder.File("bad"), "12345");
  EXPECT_TRUE(ThrowsNaming([&] { ReadCheckpoint(folder.File("bad")); }, {"/bad", "5 bytes"}));
  EXPECT_TRUE(ThrowsNaming([&] { ReadCheckpoint(folder.File("none")); }, {"/none", "No such"}));
  EXPECT_THROW(ReadCheckpoint(folder.path()), kernels::Error);
}

}  // namespace
}  // namespace trainyard::engine
