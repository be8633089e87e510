// The Python of a Jupyter notebook: its code cells, one after the other, without what only Jupyter
// understands (%magics and !shell lines).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace trainyard::coordinator {

struct NotebookCode {
  struct Cell {
    int number = 0;      // among all cells, from 1
    int first_line = 0;  // of it in `python`
  };
  std::string python;
  std::vector<Cell> cells;

  // The cell that holds a line of `python`; its number is 0 if there is none.
  Cell CellOf(int line) const;
};

// What is beyond `code_bytes_max` of code is left out. INVALID_ARGUMENT for what is no notebook, or
// one in another language. Outputs are skipped, not kept.
absl::StatusOr<NotebookCode> ReadNotebook(std::string_view json, size_t code_bytes_max);

}  // namespace trainyard::coordinator
