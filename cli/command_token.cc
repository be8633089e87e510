// `token`: who may come in, as what and until when.
#include <fmt/format.h>

#include <map>

#include "cli/command.h"
#include "cli/parse.h"
#include "cli/text.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Trainyard::Stub;

const std::map<std::string, v1::Token::Role>& Roles() {
  static const std::map<std::string, v1::Token::Role> roles = {{"viewer", v1::Token::VIEWER},
                                                               {"submitter", v1::Token::SUBMITTER},
                                                               {"admin", v1::Token::ADMIN},
                                                               {"join", v1::Token::JOIN}};
  return roles;
}

std::string RoleName(v1::Token::Role role) {
  for (const auto& [name, known] : Roles()) {
    if (known == role) return name;
  }
  return fmt::format("role {}", static_cast<int>(role));
}

Cell StateOf(const v1::Token& token, const Context& context) {
  if (token.revoked()) return Cell("revoked", Colour::kRed);
  if (token.expires_ms() == 0) return Cell("valid until revoked");
  const bool over = token.expires_ms() <= context.environment.now_ms();
  return Cell(
      fmt::format("{} {}", over ? "expired" : "valid until", FormatDate(token.expires_ms())),
      over ? Colour::kRed : Colour::kPlain);
}

std::string RenderTokens(const v1::ListTokensResponse& response, const Context& context) {
  if (response.tokens().empty()) {
    return "No tokens. `trainyard token create NAME --role ROLE` makes one.\n";
  }
  Table table({{"NAME", false, true}, {"ROLE"}, {"STATE"}, {"CREATED"}, {"LAST USED"}});
  for (const v1::Token& token : response.tokens()) {
    table.Add({CleanLine(token.name(), 100), RoleName(token.role()), StateOf(token, context),
               FormatDate(token.created_ms()), FormatDate(token.last_used_ms())});
  }
  return table.Render(context.style());
}

absl::StatusOr<int> Create(Context& context, const std::string& name, const std::string& role,
                           const std::string& expires) {
  v1::CreateTokenRequest request;
  request.set_name(name);
  request.set_role(Roles().at(role));
  if (!expires.empty()) {
    const auto lifetime = ParseDuration(expires);
    if (!lifetime.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("--expires: {}", std::string(lifetime.status().message())));
    }
    request.set_lifetime_ms(*lifetime);
  }
  const auto created = context.client->Call(&Stub::CreateToken, request);
  if (!created.ok()) return created.status();
  if (!context.json()) {
    const v1::Token& token = created->token();
    context.err() << fmt::format("token {} of role {}, {}; its secret is shown this once:\n",
                                 CleanLine(token.name()), RoleName(token.role()),
                                 StateOf(token, context).text);
  }
  // Alone on standard output, to be sent into a file.
  Print(context, *created, [&] { return CleanLine(created->secret()) + "\n"; });
  return kDone;
}

absl::StatusOr<int> List(Context& context) {
  const auto response = context.client->Call(&Stub::ListTokens, v1::ListTokensRequest());
  if (!response.ok()) return response.status();
  Print(context, *response, [&] { return RenderTokens(*response, context); });
  return kDone;
}

absl::StatusOr<int> Revoke(Context& context, const std::string& name) {
  v1::RevokeTokenRequest request;
  request.set_name(name);
  const auto revoked = context.client->Call(&Stub::RevokeToken, request);
  if (!revoked.ok()) return revoked.status();
  Print(context, *revoked, [&] {
    return fmt::format("token {} revoked: who shows it is put out within seconds\n",
                       CleanLine(revoked->name()));
  });
  return kDone;
}

}  // namespace

void AddToken(CLI::App& app, Context& context) {
  CLI::App* token = AddCommand(app, "token", "Make, list and revoke tokens: who may do what",
                               "  trainyard token create jenkins --role submitter --expires 90d\n"
                               "  trainyard token list\n"
                               "  trainyard token revoke jenkins");
  token->require_subcommand(1);
  struct Options {
    std::string name, role, expires;
  };
  auto options = std::make_shared<Options>();
  CLI::App* create =
      AddCommand(*token, "create", "Make a token; its secret goes to standard output, this once",
                 "  (umask 077; trainyard token create jenkins --role submitter --expires 90d > "
                 "jenkins.token)\n"
                 "  trainyard token create rack7 --role join");
  create->add_option("NAME", options->name, "What it is called, to be revoked by")
      ->required()
      ->type_name("");
  create
      ->add_option("--role", options->role,
                   "viewer sees all, submitter also runs jobs, admin also manages tokens and "
                   "workers; join is for workers started by hand")
      ->required()
      ->type_name("ROLE")
      ->check(CLI::IsMember(Roles()));
  create
      ->add_option("--expires", options->expires,
                   "How long it is valid, such as 30d (default: until it is revoked)")
      ->type_name("DURATION");
  create->callback([&context, options] {
    context.action = [&context, options] {
      return Create(context, options->name, options->role, options->expires);
    };
  });
  CLI::App* list =
      AddCommand(*token, "list", "All tokens, without their secrets", "  trainyard token list");
  list->callback([&context] { context.action = [&context] { return List(context); }; });
  CLI::App* revoke = AddCommand(*token, "revoke", "Make a token worthless, at once and for good",
                                "  trainyard token revoke jenkins");
  revoke->add_option("NAME", options->name, "The token's name")->required()->type_name("");
  revoke->callback([&context, options] {
    context.action = [&context, options] { return Revoke(context, options->name); };
  });
}

}  // namespace trainyard::cli
