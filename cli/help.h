// How --help looks: options and examples of one command, within 100 columns, and nothing about how
// the parser works.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace trainyard::cli {

class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App* app, std::string name) const override;
  std::string make_description(const CLI::App* app) const override;
  std::string make_option(const CLI::Option* option, bool is_positional) const override;
  std::string make_subcommand(const CLI::App* command) const override;
  std::string make_footer(const CLI::App* app) const override;
};

// The names of the commands below `app`, joined for a sentence.
std::string CommandNames(const CLI::App& app);
// The command below `app` that `typed` was probably meant to be; empty: none is near.
std::string NearestCommand(const CLI::App& app, const std::string& typed);

}  // namespace trainyard::cli
