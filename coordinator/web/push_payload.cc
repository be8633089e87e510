#include "coordinator/web/push_payload.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/source/yaml_tree.h"
#include "coordinator/web/http.h"

namespace trainyard::coordinator {
namespace {

using Json = nlohmann::json;

constexpr size_t kDepthMax = 32;  // GitHub's are five deep
constexpr size_t kTextMax = 2'048;

// Where payloads say it, outermost first.
constexpr const char* kRepositoryPaths[] = {"repository",
                                            "repository.clone_url",
                                            "repository.ssh_url",
                                            "repository.html_url",
                                            "repository.git_http_url",
                                            "repository.git_ssh_url",
                                            "project",
                                            "project.git_http_url",
                                            "project.git_ssh_url",
                                            "project.web_url"};
constexpr const char* kDefaultBranchPaths[] = {"repository.default_branch",
                                               "project.default_branch"};
constexpr const char* kCommitPaths[] = {"commit", "after"};

// Path of keys -> text.
using Texts = std::map<std::string, std::string>;

// Keeps the texts of the two outermost levels, and nothing of the rest: however large a payload is,
// no tree of it is made.
class Collector final : public nlohmann::json_sax<Json> {
 public:
  const Texts& texts() const { return texts_; }
  const std::string& error() const { return error_; }

  bool null() override { return true; }
  bool boolean(bool value) override { return Keep(value ? "true" : "false"); }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const std::string&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool string(std::string& value) override { return Keep(value); }
  bool key(std::string& name) override {
    if (keys_.size() <= 2) keys_.back() = name;
    return true;
  }
  bool start_object(size_t) override { return Open(""); }
  bool end_object() override { return Close(); }
  bool start_array(size_t) override { return Open("[]"); }
  bool end_array() override { return Close(); }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    error_ = absl::StrCat("no valid JSON at byte ", position);
    return false;
  }

 private:
  bool Keep(const std::string& value) {
    if (keys_.size() >= 1 && keys_.size() <= 2 && value.size() <= kTextMax) {
      texts_[absl::StrJoin(keys_, ".")] = value;
    }
    return true;
  }
  bool Open(const char* key) {
    keys_.emplace_back(key);
    if (keys_.size() > kDepthMax) {
      error_ = absl::StrCat("found more than ", kDepthMax, " levels of nesting");
    }
    return error_.empty();
  }
  bool Close() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::string> keys_;  // of the objects that are open; "[]" of an array
  Texts texts_;
  std::string error_;
};

absl::StatusOr<Texts> FromJson(const std::string& text) {
  Collector collector;
  if (Json::sax_parse(text, &collector)) return collector.texts();
  return absl::InvalidArgumentError(absl::StrCat("the body: ", collector.error()));
}

std::string FirstOf(const Texts& texts, const auto& paths) {
  for (const char* path : paths) {
    if (const auto found = texts.find(path); found != texts.end()) return found->second;
  }
  return "";
}

// Of "application/json; charset=utf-8".
std::string MediaType(const std::string& content_type) {
  return absl::AsciiStrToLower(
      std::string(absl::StripAsciiWhitespace(content_type.substr(0, content_type.find(';')))));
}

bool IsForm(const std::string& content_type) {
  return MediaType(content_type) == "application/x-www-form-urlencoded";
}

bool IsCommit(const std::string& text) {
  return text.size() >= 7 && text.size() <= 64 &&
         std::ranges::all_of(text, [](unsigned char c) { return absl::ascii_isxdigit(c); });
}

absl::StatusOr<Texts> Read(const std::string& content_type, const std::string& body) {
  if (!IsForm(content_type)) return FromJson(body);
  const HttpParams form = ParseForm(body);
  if (form.contains("payload")) return FromJson(ParamOf(form, "payload"));  // as GitHub has it
  return Texts(form.begin(), form.end());
}

}  // namespace

bool IsReadable(const std::string& content_type) {
  const std::string type = MediaType(content_type);
  return type.empty() || type == "application/json" || IsForm(content_type);
}

absl::StatusOr<PushPayload> ParsePush(const std::string& content_type, const std::string& body) {
  const auto texts = Read(content_type, body);
  if (!texts.ok()) return texts.status();
  PushPayload push;
  for (const char* path : kRepositoryPaths) {
    const std::string text = FirstOf(*texts, std::initializer_list<const char*>{path});
    if (!text.empty()) push.repositories.push_back(text);
  }
  if (push.repositories.empty()) {
    return absl::InvalidArgumentError(
        "found no repository, expected its URL or a project's name as \"repository\"");
  }
  push.ref = FirstOf(*texts, std::initializer_list<const char*>{"ref", "branch"});
  push.default_branch = FirstOf(*texts, kDefaultBranchPaths);
  push.commit = FirstOf(*texts, kCommitPaths);
  if (!push.commit.empty() && !IsCommit(push.commit)) {
    return absl::InvalidArgumentError(absl::StrCat("commit: found ", Quoted(push.commit),
                                                   ", expected 7 to 64 hexadecimal digits"));
  }
  const bool zero = !push.commit.empty() && push.commit.find_first_not_of('0') == push.commit.npos;
  push.deleted = zero || FirstOf(*texts, std::initializer_list<const char*>{"deleted"}) == "true";
  return push;
}

}  // namespace trainyard::coordinator
