// Data sets kept decoded in a folder, so that who trains on them again maps a file instead of
// decoding: the next trial, another worker of the host, a restarted one.
//
// Any number of processes may share the folder. One of them decodes while others that want the same
// wait for it. What was used longest ago makes room; whoever has it mapped keeps it until the end.
// Where the folder is not on a local disk, files are read instead (worker/engine/mapped_file.h).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "worker/engine/dataset.h"

namespace trainyard::engine {

// A data set that may be kept.
struct DatasetSource {
  // Stands for everything that the data set is made from, and how: 1 to 128 letters, digits, '-' or
  // '_'. It is asked for before and after reading: what changes meanwhile is not kept.
  std::function<std::string()> key;
  // Gets what `read` reads, where that is needed; may be empty. Nobody waits for this one
  // meanwhile.
  std::function<void()> fetch = {};
  std::function<Dataset()> read;
  // Called again and again while another reads the same: waits a moment, or throws in order to wait
  // no longer. Empty: 50 ms.
  std::function<void()> pause = {};
};

class DatasetCache {
 public:
  // `bytes_max`: of all files in the folder together; 0: nothing is kept. The folder need not be
  // there yet.
  DatasetCache(std::string folder, int64_t bytes_max);

  // The data set kept under the key, mapped into memory: all processes of a host share its pages.
  // If there is none, or it is damaged, it is what `read` returns, and is kept for the next time.
  // Where that cannot be (disk full, larger than the limit) the data set is returned all the same;
  // then, and where a file was damaged, `problem` says so in a line, if it is not null. Passes on
  // what the source's functions throw; kernels::Error: the key is none.
  Dataset Get(const DatasetSource& source, std::string* problem) const;

 private:
  std::optional<Dataset> Find(const std::string& key, std::string* problem) const;
  void Keep(const std::string& key, const Dataset& dataset,
            const std::function<void()>& pause) const;
  void MakeRoom(int64_t bytes, bool alone) const;
  std::string PathOf(const std::string& key) const { return folder_ + "/" + key + ".dataset"; }

  const std::string folder_;
  const int64_t bytes_max_;
};

}  // namespace trainyard::engine
