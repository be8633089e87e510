// Everything of a configuration that a search may set, under the paths that specs and --set use:
// "train.lr", "network.layers[2].conv.filters", "changes.width".
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "network/training.h"

namespace trainyard::core {

// Points into a configuration. A kernel is one number, for both of its sides.
using FieldRef =
    std::variant<double*, int*, bool*, std::string*, network::Extent*, network::OptimizerKind*,
                 network::ScheduleKind*, network::Initialisation*>;

struct Field {
  std::string path;
  FieldRef ref;
};

// Of a program its changes, of a network the training and each layer's sizes. Nothing random:
// neither seeds nor what only names something.
std::vector<Field> FieldsOf(network::Configuration& configuration);
std::optional<FieldRef> FieldAt(network::Configuration& configuration, const std::string& path);

bool IsWhole(const FieldRef& field);   // int, or a kernel
bool IsNumber(const FieldRef& field);  // that, or double

// Of a number only. Rounds to the nearest whole one where the field is whole.
double Get(const FieldRef& field);
void Set(const FieldRef& field, double value);

// As a spec writes the value. False: it cannot be that field's; nothing is set then.
bool Set(const FieldRef& field, const std::string& text);

// "a whole number", "true or false", "sgd or adamw", ...
std::string Expected(const FieldRef& field);

// All of the text, as a number without a sign of plus. None: it is none, or not finite.
std::optional<double> ParseNumber(const std::string& text);

}  // namespace trainyard::core
