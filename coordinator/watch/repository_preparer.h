// SourcePreparer for real: repositories fetched by libgit2, folders from the store, specs and data
// read by coordinator/source.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "coordinator/store/blobs.h"
#include "coordinator/watch/source_preparer.h"

namespace trainyard::coordinator {

struct RepositoryOptions {
  std::string folder;                   // for bare copies of what was fetched, one per URL
  std::vector<std::string> data_roots;  // absolute folders that specs may name data in
  bool allow_file_urls = false;         // paths and file:// even where others can ask for them
  bool only_this_machine = true;        // nobody else can ask: paths and file:// are allowed
};

// `blobs` must outlive it.
std::unique_ptr<SourcePreparer> MakeRepositoryPreparer(RepositoryOptions options, Blobs* blobs);

}  // namespace trainyard::coordinator
