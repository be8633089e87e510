// Takes an attempt's checkpoints from whoever trains to the coordinator, in the background.
//
// Each is serialised, written into the work folder, uploaded by hash, and reported; a program's
// comes as a file there. Training never waits: where checkpoints come faster than they can be
// stored, only two of those that wait are kept: the newest, which a restart continues from, and the
// best end of an epoch by the target's metric, which the model is made of. A checkpoint that cannot
// be stored (disk full, coordinator out of reach, lease lost) waits and is tried again until it is
// stored or replaced.
#pragma once

#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "trainyard/v1/worker.pb.h"
#include "worker/agent/attempt_control.h"
#include "worker/agent/blob_client.h"
#include "worker/agent/retry.h"
#include "worker/agent/uplink.h"
#include "worker/engine/checkpoint.h"

namespace trainyard::agent {

class CheckpointPublisher {
 public:
  // `folder` exists and is the attempt's own.
  CheckpointPublisher(v1::AttemptRef attempt, v1::Target::Metric metric, std::string folder,
                      BlobClient& blobs, Uplink& uplink, AttemptControl& control);
  // Drops what still waits.
  ~CheckpointPublisher();

  // How good the weights at the end of this epoch are.
  void OnEpoch(int epoch, double val_accuracy, double val_loss);

  // `last`: none comes after it, for the attempt ends or stops with it.
  void Add(engine::Checkpoint checkpoint, bool last);

  // A checkpoint that lies in the folder already; the file is removed once it is stored.
  struct Packed {
    std::string file, sha256;
    int64_t step = 0;
    int epoch = 0;
    bool end_of_epoch = false;
  };
  void Add(Packed packed, bool last);

  // How Drain ended.
  enum class Drained {
    kPublished,  // everything that counts is stored at the coordinator
    kKept,       // only the work folder has the newest one
    kNothing,    // not even that
  };
  // Waits until nothing waits any more, or the wish says that it is not to be uploaded.
  Drained Drain();

  // Why the last try failed; empty once one succeeded.
  std::string trouble() const;

 private:
  struct Item {
    int64_t step = 0;
    int epoch = 0;
    bool end_of_epoch = false;
    bool last = false;
    std::vector<int64_t> adjusted_at;
    std::optional<engine::Checkpoint> checkpoint;  // until it is serialised
    std::string bytes, sha256;                     // once serialised; no bytes where packed
    std::string file;                              // once written
  };

  void Enqueue(Item item);
  void Run();
  bool Store(Item& item);
  void WriteLocally(Item& item);
  bool Publish(Item& item);
  void Prune();  // with mutex_ held
  void Fail(const std::string& message);
  double Worth(const Item& item) const;
  bool publishing() const;

  const v1::AttemptRef attempt_;
  const v1::Target::Metric metric_;
  const std::string folder_;
  BlobClient& blobs_;
  Uplink& uplink_;
  AttemptControl& control_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int, double> worth_;  // by epoch; more is better
  std::list<Item> waiting_;      // oldest first
  const Item* in_work_ = nullptr;
  bool closing_ = false;
  std::string trouble_;

  std::thread thread_;
};

}  // namespace trainyard::agent
