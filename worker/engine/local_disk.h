// Files that only this host changes, and files that another may remove or cut under a reader.
#pragma once

#include <string>

namespace trainyard::engine {

// Whether the open file lies on a file system that is known to be this host's alone. NFS, Lustre,
// GPFS, CIFS, FUSE and all that is not known are not.
bool IsLocal(int file);

// Of a file or folder, or where it is not there yet, of the folder that it would be made in.
bool IsLocal(const std::string& path);

}  // namespace trainyard::engine
