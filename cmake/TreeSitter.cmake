# tree-sitter with its grammar of Python, as the static library `tree_sitter_python`.
#
# Both are C sources in archives from PyPI, which pip fetches once, at configure time, checked against
# the hashes in tree-sitter.txt. Debian's libtree-sitter is too old for the grammar.
set(TRAINYARD_TREE_SITTER "${CMAKE_BINARY_DIR}/tree-sitter" CACHE PATH
    "Folder with the archives named in cmake/tree-sitter.txt; those that it lacks are fetched there")
enable_language(C)

set(tree_sitter_list "${CMAKE_CURRENT_LIST_DIR}/tree-sitter.txt")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${tree_sitter_list}")
set(tree_sitter_core "${TRAINYARD_TREE_SITTER}/tree-sitter-0.23.2")
set(tree_sitter_grammar "${TRAINYARD_TREE_SITTER}/tree_sitter_python-0.23.6")

# Whether the archive is there and is what the list says.
function(tree_sitter_has archive result)
  set(${result} FALSE PARENT_SCOPE)
  if(EXISTS "${archive}")
    file(SHA256 "${archive}" hash)
    file(STRINGS "${tree_sitter_list}" named REGEX "sha256:${hash}")
    if(named)
      set(${result} TRUE PARENT_SCOPE)
    endif()
  endif()
endfunction()

foreach(part "${tree_sitter_core}" "${tree_sitter_grammar}")
  tree_sitter_has("${part}.tar.gz" there)
  if(NOT there)
    # Debian's own, which has pip and setuptools as packages; else whichever there is.
    find_program(TRAINYARD_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
    find_program(TRAINYARD_PYTHON python3 REQUIRED)
    mark_as_advanced(TRAINYARD_PYTHON)
    message(STATUS "Fetching tree-sitter and its grammar of Python from PyPI")
    file(REMOVE "${part}.tar.gz")
    execute_process(
      COMMAND "${TRAINYARD_PYTHON}" -m pip download --quiet --disable-pip-version-check --no-deps
              --no-binary :all: --no-build-isolation --require-hashes
              --requirement "${tree_sitter_list}" --dest "${TRAINYARD_TREE_SITTER}"
      RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said)
    tree_sitter_has("${part}.tar.gz" there)
    if(failed OR NOT there)
      message(FATAL_ERROR "pip could not fetch the sources of tree-sitter from PyPI:\n${said}\n"
              "It takes PyPI or a mirror (PIP_INDEX_URL) in reach, python3-pip, or the archives named "
              "in cmake/tree-sitter.txt in ${TRAINYARD_TREE_SITTER}.")
    endif()
  endif()
  if(NOT EXISTS "${part}")
    file(ARCHIVE_EXTRACT INPUT "${part}.tar.gz" DESTINATION "${TRAINYARD_TREE_SITTER}")
  endif()
endforeach()

# The grammar's archive lacks the headers that it includes as <tree_sitter/...>: the core has them.
foreach(header parser.h alloc.h array.h ts_assert.h)
  configure_file("${tree_sitter_core}/tree_sitter/core/lib/src/${header}"
                 "${TRAINYARD_TREE_SITTER}/include/tree_sitter/${header}" COPYONLY)
endforeach()

add_library(tree_sitter_python STATIC
  "${tree_sitter_core}/tree_sitter/core/lib/src/lib.c"
  "${tree_sitter_grammar}/src/parser.c"
  "${tree_sitter_grammar}/src/scanner.c")
target_include_directories(tree_sitter_python SYSTEM
  PUBLIC "${tree_sitter_core}/tree_sitter/core/lib/include"
  PRIVATE "${tree_sitter_core}/tree_sitter/core/lib/src" "${TRAINYARD_TREE_SITTER}/include")
set_target_properties(tree_sitter_python PROPERTIES C_STANDARD 11 C_EXTENSIONS ON)
