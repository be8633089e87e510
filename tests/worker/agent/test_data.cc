#include "tests/worker/agent/test_data.h"

#include <archive.h>
#include <archive_entry.h>

#include <random>
#include <stdexcept>

#include "network/network.h"
#include "proto/spec_convert.h"

namespace trainyard::agent {
namespace {

constexpr int kSide = 8;
constexpr int kClasses = 3;
constexpr int kTrain = 96;
constexpr int kTest = 32;

void AddBigEndian(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 255);
}

int LabelOf(int image, uint64_t seed) { return static_cast<int>((image * 7 + seed) % kClasses); }

v1::DataFile File(const std::string& path) {
  v1::DataFile file;
  file.set_path(path);
  return file;
}

}  // namespace

std::string Tar(const std::vector<TarEntry>& entries) {
  std::string bytes(1 << 20, '\0');
  for (const TarEntry& entry : entries) bytes.resize(bytes.size() + entry.content.size() + 4'096);
  archive* writer = archive_write_new();
  archive_write_set_format_ustar(writer);
  size_t used = 0;
  archive_write_open_memory(writer, bytes.data(), bytes.size(), &used);
  for (const TarEntry& entry : entries) {
    archive_entry* header = archive_entry_new();
    archive_entry_set_pathname(header, entry.name.c_str());
    archive_entry_set_perm(header, 0644);
    archive_entry_set_filetype(header, AE_IFREG);
    if (entry.hard) {
      archive_entry_set_hardlink(header, entry.link.c_str());
    } else if (!entry.link.empty()) {
      archive_entry_set_filetype(header, AE_IFLNK);
      archive_entry_set_symlink(header, entry.link.c_str());
    }
    archive_entry_set_size(header, static_cast<la_int64_t>(entry.content.size()));
    if (archive_write_header(writer, header) != ARCHIVE_OK) {
      throw std::runtime_error(archive_error_string(writer));
    }
    archive_write_data(writer, entry.content.data(), entry.content.size());
    archive_entry_free(header);
  }
  archive_write_close(writer);
  archive_write_free(writer);
  bytes.resize(used);
  return bytes;
}

std::string IdxImages(int count, int side, uint64_t seed) {
  std::string out;
  AddBigEndian(out, 0x0803);
  AddBigEndian(out, static_cast<uint32_t>(count));
  AddBigEndian(out, static_cast<uint32_t>(side));
  AddBigEndian(out, static_cast<uint32_t>(side));
  std::mt19937_64 random(seed);
  for (int image = 0; image < count; ++image) {
    for (int pixel = 0; pixel < side * side; ++pixel) {
      // Each class has a bright band of rows of its own.
      const bool bright = pixel / side / (side / kClasses) == LabelOf(image, seed);
      out += static_cast<char>((bright ? 128 : 0) + random() % 128);
    }
  }
  return out;
}

std::string IdxLabels(int count, int classes, uint64_t seed) {
  std::string out;
  AddBigEndian(out, 0x0801);
  AddBigEndian(out, static_cast<uint32_t>(count));
  for (int image = 0; image < count; ++image) {
    out += static_cast<char>(LabelOf(image, seed) % classes);
  }
  return out;
}

v1::JobSpec SmallJob(int epochs) {
  v1::JobSpec spec;
  spec.set_name("small");
  v1::Data* data = spec.mutable_data();
  data->set_format(v1::DATA_FORMAT_IDX);
  *data->mutable_train()->add_images() = File("data/train-images");
  *data->mutable_train()->add_labels() = File("data/train-labels");
  data->mutable_train()->set_count(kTrain);
  *data->mutable_test()->add_images() = File("data/test-images");
  *data->mutable_test()->add_labels() = File("data/test-labels");
  data->set_classes(kClasses);
  for (const char* name : {"high", "middle", "low"}) data->add_class_names(name);
  spec.mutable_validation()->set_fraction(0.25);
  spec.mutable_validation()->set_seed(5);
  network::Configuration configuration;
  configuration.network.input = {1, kSide, kSide};
  configuration.network.classes = kClasses;
  configuration.network.layers = {{network::Conv{.filters = 4, .padding = {.same = true}}},
                                  {network::BatchNorm{}},
                                  {network::Relu{}},
                                  {network::Pool{}},
                                  {network::Dropout{0.2}},
                                  {network::Flatten{}},
                                  {network::Dense{kClasses}}};
  configuration.training.epochs = epochs;
  configuration.training.batch_size = 16;
  configuration.training.optimizer.learning_rate = 0.02;
  configuration.training.augmentation.flip = true;
  configuration.training.augmentation.shift = 1;
  *spec.mutable_configuration() = ToProto(configuration);
  spec.mutable_target()->set_metric(v1::Target::VAL_ACCURACY);
  spec.mutable_target()->set_bound(0.5);
  return spec;
}

std::string SmallSnapshot() { return SmallSnapshotWith({}); }

std::string SmallSnapshotWith(const std::vector<TarEntry>& more) {
  std::vector<TarEntry> entries = {{"trainyard.yaml", "name: small\n"},
                                   {"data/train-images", IdxImages(kTrain, kSide, 1)},
                                   {"data/train-labels", IdxLabels(kTrain, kClasses, 1)},
                                   {"data/test-images", IdxImages(kTest, kSide, 2)},
                                   {"data/test-labels", IdxLabels(kTest, kClasses, 2)}};
  entries.insert(entries.end(), more.begin(), more.end());
  return Tar(entries);
}

v1::Start SmallStart(const v1::JobSpec& spec, const std::string& snapshot_sha256, int64_t attempt) {
  v1::Start start;
  start.mutable_attempt()->set_job(1);
  start.mutable_attempt()->set_trial(1);
  start.mutable_attempt()->set_attempt(attempt);
  start.mutable_attempt()->set_fencing(100 + attempt);
  start.set_trial_number(1);
  start.set_attempt_number(static_cast<int32_t>(attempt));
  *start.mutable_spec() = spec;
  *start.mutable_configuration() = spec.configuration();
  start.set_snapshot_sha256(snapshot_sha256);
  return start;
}

}  // namespace trainyard::agent
