// Small data sets and archives for tests, made from a seed.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "trainyard/v1/worker.pb.h"

namespace trainyard::agent {

// An entry of a tar file; `link` makes it a symbolic link, or with `hard` a hard link.
struct TarEntry {
  std::string name;
  std::string content;
  std::string link;
  bool hard = false;
};
std::string Tar(const std::vector<TarEntry>& entries);

// IDX files of `count` images of `side` x `side` pixels, of which the class can be learned.
std::string IdxImages(int count, int side, uint64_t seed);
std::string IdxLabels(int count, int classes, uint64_t seed);

// A job on a snapshot that holds data/train-{images,labels} and data/test-{images,labels}: 96 and
// 32 images of 8x8, 3 classes; a quarter of train is for validation. Its network has a convolution,
// batch normalisation, dropout and a dense layer; augmentation is on.
v1::JobSpec SmallJob(int epochs);
std::string SmallSnapshot();
std::string SmallSnapshotWith(const std::vector<TarEntry>& more);

// The first attempt of that job.
v1::Start SmallStart(const v1::JobSpec& spec, const std::string& snapshot_sha256, int64_t attempt);

}  // namespace trainyard::agent
