#include <unistd.h>

#include <chrono>
#include <clocale>
#include <iostream>

#include "cli/app.h"

int main(int argc, char** argv) {
  std::setlocale(LC_CTYPE, "C.UTF-8");  // for the width of characters, whatever the user's locale
  const trainyard::cli::Environment environment{
      std::cout, std::cerr, trainyard::cli::StyleOf(STDOUT_FILENO),
      trainyard::cli::StyleOf(STDERR_FILENO), [] {
        return std::chrono::duration_cast<std::chrono::milliseconds>(
                   std::chrono::system_clock::now().time_since_epoch())
            .count();
      }};
  return trainyard::cli::Run(argc, argv, environment);
}
