#include "coordinator/notify/mail.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "coordinator/notify/channel.h"

namespace trainyard::coordinator {
namespace {

constexpr size_t kSubjectMax = 200;
constexpr size_t kPlainMax = 60;    // with the header's name, within 78 columns
constexpr size_t kWordMax = 42;     // bytes of an encoded word: 75 columns at most
constexpr size_t kBase64Line = 57;  // bytes that make 76 columns

std::string Base64Lines(std::string_view text) {
  std::string lines;
  for (size_t i = 0; i < text.size(); i += kBase64Line) {
    absl::StrAppend(&lines, absl::Base64Escape(std::string(text.substr(i, kBase64Line))), "\r\n");
  }
  return lines;
}

std::string BodyOf(const JobNotice& notice) {
  std::string text = absl::StrCat(Headline(notice), "\r\n\r\n");
  for (const auto& [name, value] : Facts(notice)) {
    absl::StrAppend(&text, name, ": ", value, "\r\n");
  }
  if (!notice.link.empty()) absl::StrAppend(&text, "\r\n", notice.link, "\r\n");
  return text;
}

class MailChannel final : public Channel {
 public:
  explicit MailChannel(MailConfig config) : Channel(config), config_(std::move(config)) {}

  Outcome Deliver(const JobNotice& notice, const Cancelled& cancelled) override {
    return Send({config_.server, config_.port, config_.encryption, config_.user, config_.password,
                 config_.from, config_.to, MailMessage(notice, config_)},
                config_.connection, cancelled);
  }

 private:
  const MailConfig config_;
};

}  // namespace

std::string EncodedHeader(std::string_view text) {
  const std::string line = OneLine(text);
  const bool plain = line.size() <= kPlainMax && line.find("=?") == std::string::npos &&
                     std::ranges::all_of(line, [](unsigned char c) { return c < 0x80; });
  if (plain) return line;
  std::vector<std::string> words;
  std::string_view left = line;
  while (!left.empty()) {
    size_t end = std::min(left.size(), kWordMax);
    while (end < left.size() && end > 0 && (static_cast<unsigned char>(left[end]) & 0xC0) == 0x80) {
      --end;
    }
    words.push_back(
        absl::StrCat("=?UTF-8?B?", absl::Base64Escape(std::string(left.substr(0, end))), "?="));
    left.remove_prefix(end);
  }
  return absl::StrJoin(words, "\r\n ");
}

std::string MailMessage(const JobNotice& notice, const MailConfig& config) {
  const std::string domain = config.from.substr(config.from.find('@') + 1);
  const std::string date = absl::FormatTime(
      absl::RFC1123_full, absl::FromUnixMillis(notice.time_ms()), absl::UTCTimeZone());
  return absl::StrCat(
      "Date: ", date, "\r\nFrom: Trainyard <", config.from,
      ">\r\nTo: ", absl::StrJoin(config.to, ",\r\n "), "\r\nMessage-ID: <", notice.key, "@", domain,
      ">\r\nSubject: ", EncodedHeader(Shortened(Headline(notice), kSubjectMax)),
      "\r\nAuto-Submitted: auto-generated\r\nX-Trainyard-Event: ", std::string(Name(notice.event)),
      "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
      "Content-Transfer-Encoding: base64\r\n\r\n",
      Base64Lines(BodyOf(notice)));
}

std::unique_ptr<Channel> MakeMail(MailConfig config) {
  return std::make_unique<MailChannel>(std::move(config));
}

}  // namespace trainyard::coordinator
