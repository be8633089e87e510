# GoogleTest: the installed one, or its sources, for machines where nothing can be installed.
set(TRAINYARD_GTEST_SOURCE "" CACHE PATH "Folder with GoogleTest's sources, instead of a package")
if(TRAINYARD_GTEST_SOURCE)
  set(INSTALL_GTEST OFF)
  add_subdirectory("${TRAINYARD_GTEST_SOURCE}" googletest EXCLUDE_FROM_ALL)
else()
  find_package(GTest REQUIRED)
endif()
include(GoogleTest)
