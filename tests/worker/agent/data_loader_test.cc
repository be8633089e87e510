// From a spec's data to images: fetched, unpacked and decoded the first time, mapped afterwards,
// and decoded anew once the data are others or are read in another way.
#include "worker/agent/data_loader.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>

#include "absl/strings/escaping.h"
#include "tests/worker/agent/agent_fixture.h"
#include "tests/worker/agent/test_data.h"
#include "worker/agent/digest.h"
#include "worker/agent/native_runner.h"

namespace trainyard::agent {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr int64_t kPlenty = 1 << 20;

std::string BytesOf(const engine::Dataset& dataset) {
  const kernels::ImageSet images = dataset.images();
  std::string bytes(images.pixels.begin(), images.pixels.end());
  for (const int32_t label : images.labels) bytes += static_cast<char>('0' + label);
  return bytes;
}

class DataLoaderTest : public testing::Test {
 protected:
  DataLoaderTest() : blobs_(MakeChannel(gateway_.address())), cache_(folder_ / "cache") {
    gateway_.Set([this](auto& b) {
      b.on_fetch = [this](const std::string&, int64_t) {
        ++fetches_;
        if (while_fetching_) while_fetching_();
        return std::nullopt;
      };
    });
  }

  // As one attempt after the other does, each in a folder of its own.
  absl::StatusOr<LoadedData> Load(const v1::JobSpec& spec, bool with_test = false,
                                  int64_t bytes_max = kPlenty) {
    source_ = folder_ / std::to_string(++loads_);
    DataLoader loader(blobs_, cache_, https_, source_, control_);
    return loader.Load(spec, snapshot_, with_test, {folder_ / "decoded", bytes_max});
  }
  std::string TrainBytes(const v1::JobSpec& spec) {
    const absl::StatusOr<LoadedData> data = Load(spec);
    EXPECT_TRUE(data.ok()) << data.status();
    return data.ok() ? BytesOf(data->train) : "";
  }
  int Kept() const {
    int kept = 0;
    for (const auto& entry : fs::directory_iterator(folder_ / "decoded")) {
      kept += entry.path().extension() == ".dataset";
    }
    return kept;
  }
  void Write(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }
  // The job's training set as files of this host instead.
  v1::JobSpec JobOnHost() {
    Write(folder_ / "images", IdxImages(96, 8, 7));
    Write(folder_ / "labels", IdxLabels(96, 3, 7));
    v1::JobSpec spec = SmallJob(1);
    v1::DataSet& train = *spec.mutable_data()->mutable_train();
    train.mutable_images(0)->Clear();
    train.mutable_images(0)->set_host_path(folder_ / "images");
    train.mutable_labels(0)->Clear();
    train.mutable_labels(0)->set_host_path(folder_ / "labels");
    return spec;
  }

  FakeGateway gateway_;
  TestFolder folder_;
  BlobClient blobs_;
  BlobCache cache_;
  HttpsOptions https_;
  AttemptControl control_;
  std::string snapshot_ = gateway_.Store(SmallSnapshot());
  std::string source_;  // of the last Load
  std::atomic<int> fetches_ = 0;
  std::function<void()> while_fetching_;
  int loads_ = 0;
};

TEST_F(DataLoaderTest, TheSecondLoadNeitherUnpacksNorDecodesAndGivesTheSame) {
  const absl::StatusOr<LoadedData> first = Load(SmallJob(1), true);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(fs::exists(source_ + "/data/train-images"));
  EXPECT_EQ(Kept(), 2);
  const int fetches = fetches_;
  fs::remove_all(folder_ / "cache");  // what it would have to be decoded from
  gateway_.GoDown();
  const absl::StatusOr<LoadedData> second = Load(SmallJob(1), true);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_FALSE(fs::exists(source_));
  EXPECT_EQ(fetches_, fetches);
  EXPECT_EQ(BytesOf(second->train), BytesOf(first->train));
  EXPECT_EQ(BytesOf(*second->test), BytesOf(*first->test));
  gateway_.ComeUp();
}

TEST_F(DataLoaderTest, WithoutACacheEachLoadDecodesTheSame) {
  const std::string kept = TrainBytes(SmallJob(1));
  const absl::StatusOr<LoadedData> data = Load(SmallJob(1), false, 0);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_TRUE(fs::exists(source_ + "/data/train-images"));
  EXPECT_EQ(BytesOf(data->train), kept);
}

TEST_F(DataLoaderTest, AFileOfTheHostThatChangedIsDecodedAnew) {
  const v1::JobSpec spec = JobOnHost();
  const std::string before = TrainBytes(spec);
  EXPECT_EQ(TrainBytes(spec), before);
  EXPECT_EQ(Kept(), 1);
  Write(folder_ / "images", IdxImages(96, 8, 8));
  const std::string after = TrainBytes(spec);
  EXPECT_NE(after, before);
  EXPECT_EQ(after.substr(0, 96 * 64), IdxImages(96, 8, 8).substr(16));
  // In the same place, of the same size and age.
  const auto age = fs::last_write_time(folder_ / "images");
  Write(folder_ / "images", IdxImages(96, 8, 9));
  fs::last_write_time(folder_ / "images", age);
  EXPECT_EQ(TrainBytes(spec).substr(0, 96 * 64), IdxImages(96, 8, 9).substr(16));
}

TEST_F(DataLoaderTest, FilesWithAHashAreNamedByItWhereverTheyAre) {
  v1::JobSpec spec = JobOnHost();
  v1::DataSet& train = *spec.mutable_data()->mutable_train();
  train.mutable_images(0)->set_sha256(HashOf(IdxImages(96, 8, 7)));
  train.mutable_labels(0)->set_sha256(HashOf(IdxLabels(96, 3, 7)));
  const std::string bytes = TrainBytes(spec);
  fs::remove(folder_ / "images");
  EXPECT_EQ(TrainBytes(spec), bytes);
  train.mutable_images(0)->set_sha256(HashOf("others"));
  EXPECT_EQ(Load(spec).status().code(), absl::StatusCode::kUnavailable);
  Write(folder_ / "images", IdxImages(96, 8, 7));
  const absl::Status changed = Load(spec).status();
  EXPECT_EQ(changed.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(changed.message()), HasSubstr("data.train: "));
}

TEST_F(DataLoaderTest, WhatAHashNamesIsTrainedOnWhateverBecameOfTheFile) {
  v1::JobSpec spec = JobOnHost();
  v1::DataSet& train = *spec.mutable_data()->mutable_train();
  train.mutable_images(0)->set_sha256(HashOf(IdxImages(96, 8, 7)));
  const std::string bytes = TrainBytes(spec);
  Write(folder_ / "images", IdxImages(96, 8, 8));
  EXPECT_EQ(TrainBytes(spec), bytes);
  const absl::Status not_kept = Load(spec, false, 0).status();
  EXPECT_EQ(not_kept.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(not_kept.message()), HasSubstr("as at submit"));
}

TEST_F(DataLoaderTest, AFileThatChangesBetweenItsHashAndReadingIsNotWhatTheHashNames) {
  v1::JobSpec spec = JobOnHost();
  v1::DataSet& train = *spec.mutable_data()->mutable_train();
  *train.mutable_labels(0) = SmallJob(1).data().train().labels(0);  // fetched behind the images
  train.mutable_images(0)->set_sha256(HashOf(IdxImages(96, 8, 7)));
  while_fetching_ = [this] { Write(folder_ / "images", IdxImages(96, 8, 8)); };
  const absl::Status changed = Load(spec).status();
  EXPECT_EQ(changed.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(changed.message()), HasSubstr("images: changed while it was read"));
  EXPECT_EQ(Kept(), 0);
  while_fetching_ = [this] { Write(folder_ / "images", "half"); };
  Write(folder_ / "images", IdxImages(96, 8, 7));
  fs::remove_all(folder_ / "cache");
  EXPECT_EQ(Load(spec).status().code(), absl::StatusCode::kUnavailable);
  while_fetching_ = nullptr;
  Write(folder_ / "images", IdxImages(96, 8, 7));
  EXPECT_EQ(TrainBytes(spec).substr(0, 96 * 64), IdxImages(96, 8, 7).substr(16));
}

TEST_F(DataLoaderTest, WhoWaitsForADecoderThatHangsHearsAStop) {
  fs::create_directories(folder_ / "decoded");
  const int lock = open((folder_ / "decoded/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  ASSERT_GE(lock, 0);
  struct flock all {};
  all.l_type = F_WRLCK;
  ASSERT_EQ(fcntl(lock, F_OFD_SETLK, &all), 0);
  auto load = std::async(std::launch::async, [this] { return Load(SmallJob(1)).status(); });
  EXPECT_EQ(load.wait_for(std::chrono::milliseconds(500)), std::future_status::timeout);
  EXPECT_TRUE(fs::exists(source_ + "/data/train-images")) << "fetched and unpacked meanwhile";
  control_.RequestStop({.reason = "cancelled"});
  const bool heard = load.wait_for(std::chrono::seconds(60)) == std::future_status::ready;
  EXPECT_TRUE(heard);
  close(lock);  // for one that has not
  const absl::Status status = load.get();
  if (heard) {
    EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
    EXPECT_EQ(status.message(), "cancelled");
  }
}

TEST_F(DataLoaderTest, WhereTheDiskIsNotThisHostsNothingIsKeptUnlessItIsSaid) {
  NativeOptions options;
  options.decoded_bytes_max = std::nullopt;
  options.decoded_folder = "/proc/decoded";
  EXPECT_EQ(DecodedBytesMax(options), 0);
  options.decoded_bytes_max = 5;
  EXPECT_EQ(DecodedBytesMax(options), 5);
}

TEST_F(DataLoaderTest, WhatIsReadInAnotherWayIsDecodedAnew) {
  v1::JobSpec spec = SmallJob(1);
  TrainBytes(spec);
  spec.mutable_data()->set_classes(2);
  const absl::Status status = Load(spec).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("found label 2, expected 0 to 1"));
  spec = SmallJob(1);
  spec.mutable_data()->mutable_train()->set_count(95);
  EXPECT_THAT(std::string(Load(spec).status().message()),
              HasSubstr("found 96 images, expected 95"));
}

TEST_F(DataLoaderTest, AnotherSnapshotIsDecodedAnew) {
  TrainBytes(SmallJob(1));
  snapshot_ = gateway_.Store(SmallSnapshotWith({{"more", "x"}}));
  TrainBytes(SmallJob(1));
  EXPECT_TRUE(fs::exists(source_ + "/more"));
  EXPECT_EQ(Kept(), 2);
}

// A PNG of one grey pixel.
std::string Pixel(bool bright) {
  std::string png;
  EXPECT_TRUE(absl::Base64Unescape(bright ? "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQV"
                                            "R4nGP4AAAA8gDxnPEd5gAAAABJRU5ErkJggg=="
                                          : "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQV"
                                            "R4nGMQAAAAEgARpVbHTgAAAABJRU5ErkJggg==",
                                   &png));
  return png;
}

TEST_F(DataLoaderTest, AFolderIsDecodedAnewOnceAFileInItChanged) {
  v1::JobSpec spec;
  v1::Data& data = *spec.mutable_data();
  data.set_format(v1::DATA_FORMAT_FOLDER);
  data.set_classes(1);
  data.add_class_names("one");
  data.mutable_image()->set_channels(1);
  data.mutable_image()->set_height(1);
  data.mutable_image()->set_width(1);
  data.mutable_train()->add_images()->set_host_path(folder_ / "images");
  snapshot_.clear();
  fs::create_directories(folder_ / "images/one");
  Write(folder_ / "images/one/a.png", Pixel(false));
  EXPECT_EQ(TrainBytes(spec), std::string("\x10"
                                          "0"));
  EXPECT_EQ(TrainBytes(spec), std::string("\x10"
                                          "0"));
  EXPECT_EQ(Kept(), 1);
  Write(folder_ / "images/one/a.png", Pixel(true));
  EXPECT_EQ(TrainBytes(spec), std::string("\xF0"
                                          "0"));
  Write(folder_ / "images/one/b.png", Pixel(false));
  EXPECT_EQ(TrainBytes(spec), std::string("\xF0\x10"
                                          "00"));
  data.mutable_image()->set_width(2);
  EXPECT_EQ(TrainBytes(spec), std::string("\xF0\xF0\x10\x10"
                                          "00"));
}

}  // namespace
}  // namespace trainyard::agent
