// What stored records are made of, to and from the messages of stored.proto. Private to convert.
#pragma once

#include <string>
#include <vector>

#include "coordinator/convert/stored.pb.h"
#include "coordinator/convert/stored_names.h"

namespace trainyard::coordinator {

// Collects the first thing that is wrong with a row.
class StoredReader {
 public:
  template <typename Enum>
  void Get(const std::string& name, const char* field, Enum* to) {
    if (ParseStoredName(name, to) || !problem_.empty()) return;
    problem_ =
        std::string(field) + ": found '" + name + "', expected one of " + StoredNames<Enum>();
  }
  const std::string& problem() const { return problem_; }

 private:
  std::string problem_;
};

// ---- stored_request.cc ----

void Put(const core::JobRequest& from, stored::JobRequest* to);
void Get(const stored::JobRequest& from, core::JobRequest* to, StoredReader& reader);

// ---- stored_tweak.cc ----

using StoredChanges = google::protobuf::RepeatedPtrField<stored::Change>;

void Put(const std::vector<core::Change>& from, StoredChanges* to);
void Get(const StoredChanges& from, std::vector<core::Change>* to);
void Put(const core::Tweak& from, stored::Tweak* to);
void Get(const stored::Tweak& from, core::Tweak* to, StoredReader& reader);
void Put(const core::Proposal& from, stored::Proposal* to);
void Get(const stored::Proposal& from, core::Proposal* to, StoredReader& reader);
void Put(const core::Adjustment& from, stored::Adjustment* to);
void Get(const stored::Adjustment& from, core::Adjustment* to, StoredReader& reader);

}  // namespace trainyard::coordinator
