// Every key that trainyard.yaml may have, section by section. The reader refuses all others and
// suggests the nearest; docs/spec.schema.json has the same sections as its definitions.
#pragma once

#include <string_view>
#include <vector>

namespace trainyard::coordinator {

// One kind of map, of trainyard.yaml or of another file that is read as strictly.
struct SpecSection {
  std::string_view name;  // "" is the file itself; "conv" whatever layer list it stands in
  std::vector<std::string_view> keys;
  // The key that a plain value stands for: `dense: 128` is `dense: {units: 128}`. Empty: none.
  std::string_view short_for = {};
};

const std::vector<SpecSection>& SpecSections();

// Never fails: the names are the reader's own.
const SpecSection& SectionNamed(const std::vector<SpecSection>& sections, std::string_view name);
const SpecSection& SpecSectionNamed(std::string_view name);

// What somebody who wrote `word` may have meant among the section's keys, or empty.
std::string_view NearestKey(const SpecSection& section, std::string_view word);

}  // namespace trainyard::coordinator
