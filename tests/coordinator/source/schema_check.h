// As much of JSON Schema draft-07 as docs/spec.schema.json uses. A keyword it does not know throws,
// so that the schema cannot outgrow it unnoticed.
#pragma once

#include <nlohmann/json.hpp>
#include <regex>
#include <stdexcept>
#include <string>

namespace trainyard::coordinator {

class SchemaCheck {
 public:
  explicit SchemaCheck(const nlohmann::json& root) : root_(root) {}

  bool Accepts(const nlohmann::json& value) const { return Matches(root_, value); }

 private:
  using Json = nlohmann::json;

  bool Matches(const Json& schema, const Json& value) const {
    for (const auto& [keyword, argument] : schema.items()) {
      if (!Holds(keyword, argument, schema, value)) return false;
    }
    return true;
  }

  bool Holds(const std::string& keyword, const Json& argument, const Json& schema,
             const Json& value) const {
    if (keyword == "$ref") return Matches(root_.at(Json::json_pointer(Pointer(argument))), value);
    if (keyword == "type") return IsType(argument, value);
    if (keyword == "enum")
      return std::find(argument.begin(), argument.end(), value) != argument.end();
    if (keyword == "anyOf") return Count(argument, value) > 0;
    if (keyword == "oneOf") return Count(argument, value) == 1;
    if (keyword == "allOf") return Count(argument, value) == argument.size();
    if (keyword == "not") return !Matches(argument, value);
    if (keyword == "minimum") return !value.is_number() || value >= argument;
    if (keyword == "maximum") return !value.is_number() || value <= argument;
    if (keyword == "exclusiveMinimum") return !value.is_number() || value > argument;
    if (keyword == "exclusiveMaximum") return !value.is_number() || value < argument;
    if (keyword == "minLength") return !value.is_string() || !value.get<std::string>().empty();
    if (keyword == "pattern") {
      return !value.is_string() ||
             std::regex_search(value.get<std::string>(), std::regex(argument.get<std::string>()));
    }
    if (keyword == "items") return ItemsMatch(argument, value);
    if (keyword == "minItems") return !value.is_array() || value.size() >= argument;
    if (keyword == "maxItems") return !value.is_array() || value.size() <= argument;
    if (keyword == "minProperties") return !value.is_object() || value.size() >= argument;
    if (keyword == "maxProperties") return !value.is_object() || value.size() <= argument;
    if (keyword == "required") return HasAll(argument, value);
    if (keyword == "dependencies") return HasDependents(argument, value);
    if (keyword == "properties") return PropertiesMatch(argument, value);
    if (keyword == "additionalProperties") return OthersMatch(argument, schema, value);
    if (keyword == "propertyNames") return NamesMatch(argument, value);
    bool annotation = keyword == "description" || keyword == "default" || keyword == "title" ||
                      keyword == "$schema" || keyword == "definitions";
    if (!annotation) throw std::logic_error("a keyword that this check does not know: " + keyword);
    return true;
  }

  static std::string Pointer(const Json& reference) {
    return reference.get<std::string>().substr(1);  // "#/definitions/conv"
  }
  size_t Count(const Json& schemas, const Json& value) const {
    return std::count_if(schemas.begin(), schemas.end(),
                         [&](const Json& schema) { return Matches(schema, value); });
  }
  static bool IsType(const Json& type, const Json& value) {
    if (type.is_array()) {
      return std::any_of(type.begin(), type.end(), [&](const Json& t) { return IsType(t, value); });
    }
    if (type == "object") return value.is_object();
    if (type == "array") return value.is_array();
    if (type == "string") return value.is_string();
    if (type == "boolean") return value.is_boolean();
    if (type == "null") return value.is_null();
    if (type == "integer") return value.is_number_integer();
    return type == "number" && value.is_number();
  }
  bool ItemsMatch(const Json& schema, const Json& value) const {
    return !value.is_array() || std::all_of(value.begin(), value.end(), [&](const Json& item) {
      return Matches(schema, item);
    });
  }
  static bool HasAll(const Json& names, const Json& value) {
    return !value.is_object() || std::all_of(names.begin(), names.end(), [&](const Json& name) {
      return value.contains(name.get<std::string>());
    });
  }
  static bool HasDependents(const Json& dependencies, const Json& value) {
    if (!value.is_object()) return true;
    for (const auto& [key, names] : dependencies.items()) {
      if (value.contains(key) && !HasAll(names, value)) return false;
    }
    return true;
  }
  bool PropertiesMatch(const Json& properties, const Json& value) const {
    if (!value.is_object()) return true;
    for (const auto& [key, schema] : properties.items()) {
      if (value.contains(key) && !Matches(schema, value.at(key))) return false;
    }
    return true;
  }
  // `others` is false or the schema of all that `properties` does not name.
  bool OthersMatch(const Json& others, const Json& schema, const Json& value) const {
    if (!value.is_object()) return true;
    const Json properties = schema.value("properties", Json::object());
    for (const auto& [key, other] : value.items()) {
      if (properties.contains(key)) continue;
      if (others == false || !Matches(others, other)) return false;
    }
    return true;
  }
  bool NamesMatch(const Json& schema, const Json& value) const {
    if (!value.is_object()) return true;
    for (const auto& [key, ignored] : value.items()) {
      if (!Matches(schema, key)) return false;
    }
    return true;
  }

  const Json& root_;
};

}  // namespace trainyard::coordinator
