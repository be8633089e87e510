// Tweaks, and what carries one.
#include "coordinator/convert/stored_parts.h"
#include "proto/spec_convert.h"

// Each Put takes its record apart by structured binding: see stored_request.cc.
namespace trainyard::coordinator {

void Put(const std::vector<core::Change>& from, StoredChanges* to) {
  for (const auto& [path, before, after] : from) {
    stored::Change* change = to->Add();
    change->set_path(path);
    change->set_from(before);
    change->set_to(after);
  }
}

void Get(const StoredChanges& from, std::vector<core::Change>* to) {
  for (const stored::Change& change : from) {
    to->push_back({change.path(), change.from(), change.to()});
  }
}

void Put(const core::Tweak& from, stored::Tweak* to) {
  const auto& [finding, reason, expectation, changes, move, base, expected_gain] = from;
  const auto& [kind, text, evidence] = finding;
  to->mutable_finding()->set_kind(StoredName(kind));
  to->mutable_finding()->set_text(text);
  for (const auto& [name, value] : evidence) {
    stored::Evidence* item = to->mutable_finding()->add_evidence();
    item->set_name(name);
    item->set_value(value);
  }
  to->set_reason(reason);
  to->set_expectation(expectation);
  Put(changes, to->mutable_changes());
  to->set_move(move);
  to->set_base(base);
  to->set_expected_gain(expected_gain);
}

void Get(const stored::Tweak& from, core::Tweak* to, StoredReader& reader) {
  reader.Get(from.finding().kind(), "tweak.finding.kind", &to->finding.kind);
  to->finding.text = from.finding().text();
  for (const stored::Evidence& item : from.finding().evidence()) {
    to->finding.evidence[item.name()] = item.value();
  }
  to->reason = from.reason();
  to->expectation = from.expectation();
  Get(from.changes(), &to->changes);
  to->move = from.move();
  to->base = from.base();
  to->expected_gain = from.expected_gain();
}

void Put(const core::Proposal& from, stored::Proposal* to) {
  const auto& [tweak, configuration] = from;
  Put(tweak, to->mutable_tweak());
  *to->mutable_configuration() = ToProto(configuration);
}

void Get(const stored::Proposal& from, core::Proposal* to, StoredReader& reader) {
  Get(from.tweak(), &to->tweak, reader);
  to->configuration = FromProto(from.configuration());
}

void Put(const core::Adjustment& from, stored::Adjustment* to) {
  const auto& [step, at_epoch, stop, configuration, tweak, settled] = from;
  to->set_step(step);
  to->set_at_epoch(at_epoch);
  to->set_stop(stop);
  *to->mutable_configuration() = ToProto(configuration);
  Put(tweak, to->mutable_tweak());
  to->set_settled(settled);
}

void Get(const stored::Adjustment& from, core::Adjustment* to, StoredReader& reader) {
  to->step = from.step();
  to->at_epoch = from.at_epoch();
  to->stop = from.stop();
  to->configuration = FromProto(from.configuration());
  Get(from.tweak(), &to->tweak, reader);
  to->settled = from.settled();
}

}  // namespace trainyard::coordinator
