// A tweak in words: what was found, on which numbers it rests, what is changed and what is expected
// of it.
#pragma once

#include <cstdint>
#include <string>

#include "cli/style.h"
#include "trainyard/v1/client.pb.h"
#include "trainyard/v1/resources.pb.h"

namespace trainyard::cli {

// "underfit: train accuracy 0.8740 is below the target".
std::string FindingText(const v1::Tweak& tweak);
// "gap 0.012, train_accuracy 0.874": the numbers behind the finding, by name.
std::string EvidenceText(const v1::Tweak& tweak);
// "more capacity (+0.0120)": what it says should come of it.
std::string ExpectedText(const v1::Tweak& tweak);
// "expected +0.0120, gained +0.0180" of a trial, as far as they were told; or empty.
std::string GainText(const v1::Trial& trial);
// "widen of trial 1, with its weights": where a trial comes from, or empty.
std::string OriginText(const v1::Trial& trial);
// "trial 2 from step 1240 on: train.lr 0.02 -> 0.002 (plateau: ...)".
std::string AdjustmentText(int trial, const v1::Adjustment& adjustment);

// What `tweak` prints.
std::string RenderTweak(const v1::TweakJobResponse& response, bool dry_run, int64_t job,
                        const Style& style);

}  // namespace trainyard::cli
