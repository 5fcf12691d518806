// SPDX-License-Identifier: Apache-2.0
//
// Checks the trace against what the Trace Event Format says of the events that
// it has: each has name, ph, pid and tid, complete and instant events have ts,
// complete ones dur, instant ones a scope, and metadata the name in its args.
#include "passthru/vmm/report/trace_events.h"

#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "passthru/vmm/report/timeline.h"

namespace passthru::vmm {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::Key;

Struct Parsed(const std::string& json) {
  Struct parsed;
  const auto status =
      google::protobuf::util::JsonStringToMessage(json, &parsed);
  EXPECT_TRUE(status.ok()) << status.ToString() << "\n" << json;
  return parsed;
}

TimelineData Example() {
  TimelineData data;
  data.lanes = {"guest", "exits", "a \"lane\" </script>"};
  data.phases = {{.name = "attach", .begin = 0, .end = 5'000}};
  data.events = {
      {.kind = TimelineKind::kCall,
       .lane = 2,
       .begin = 1'234,
       .duration = 56'789,
       .name = "KVM_IRQFD",
       .detail = "KVM_IRQFD(vm, fd=fd#1) = EBUSY",
       .failed = true},
      {.kind = TimelineKind::kInterrupt,
       .lane = 0,
       .begin = 70'000,
       .name = "interrupt",
       .detail = "took 0xfee00000 data 0x41"},
  };
  return data;
}

void CheckEvent(const Value& value) {
  ASSERT_EQ(value.kind_case(), Value::kStructValue);
  const auto& event = value.struct_value().fields();
  for (const char* const field : {"name", "cat", "ph"}) {
    ASSERT_THAT(event, Contains(Key(field)));
    EXPECT_EQ(event.at(field).kind_case(), Value::kStringValue) << field;
  }
  for (const char* const field : {"pid", "tid", "ts"}) {
    ASSERT_THAT(event, Contains(Key(field)));
    EXPECT_EQ(event.at(field).kind_case(), Value::kNumberValue) << field;
  }
  ASSERT_THAT(event, Contains(Key("args")));
  EXPECT_EQ(event.at("args").kind_case(), Value::kStructValue);
  EXPECT_GE(event.at("ts").number_value(), 0);
  const std::string& phase = event.at("ph").string_value();
  ASSERT_THAT(phase, AnyOf("X", "i", "M"));
  EXPECT_EQ(event.contains("dur"), phase == "X");
  if (phase == "X") {
    EXPECT_EQ(event.at("dur").kind_case(), Value::kNumberValue);
    EXPECT_GE(event.at("dur").number_value(), 0);
  }
  EXPECT_EQ(event.contains("s"), phase == "i");
  if (phase == "i") {
    EXPECT_THAT(event.at("s").string_value(), AnyOf("g", "p", "t"));
  }
  if (phase == "M") {
    EXPECT_THAT(event.at("name").string_value(),
                AnyOf("process_name", "thread_name"));
    EXPECT_THAT(event.at("args").struct_value().fields(),
                Contains(Key("name")));
  }
}

TEST(TraceEventsTest, EveryEventHasTheFieldsOfItsKind) {
  const Struct trace = Parsed(TraceEventsJson(Example()));
  EXPECT_THAT(trace.fields().at("displayTimeUnit").string_value(),
              AnyOf("ms", "ns"));
  const auto& events = trace.fields().at("traceEvents").list_value().values();
  // The process and four threads, the phase and two events.
  EXPECT_EQ(events.size(), 8);
  std::set<double> named;
  for (const Value& event : events) {
    CheckEvent(event);
    const auto& fields = event.struct_value().fields();
    if (fields.at("name").string_value() == "thread_name") {
      named.insert(fields.at("tid").number_value());
    } else {
      EXPECT_TRUE(fields.at("ph").string_value() == "M" ||
                  named.contains(fields.at("tid").number_value()));
    }
  }
}

TEST(TraceEventsTest, TimesAreInMicroseconds) {
  const Struct trace = Parsed(TraceEventsJson(Example()));
  const auto& call = trace.fields()
                         .at("traceEvents")
                         .list_value()
                         .values(6)
                         .struct_value()
                         .fields();
  EXPECT_EQ(call.at("name").string_value(), "KVM_IRQFD");
  EXPECT_EQ(call.at("ts").number_value(), 1.234);
  EXPECT_EQ(call.at("dur").number_value(), 56.789);
  EXPECT_EQ(call.at("tid").number_value(), 3);
  const auto& arguments = call.at("args").struct_value().fields();
  EXPECT_EQ(arguments.at("detail").string_value(),
            "KVM_IRQFD(vm, fd=fd#1) = EBUSY");
  EXPECT_TRUE(arguments.at("failed").bool_value());
}

TEST(TraceEventsTest, WhatIsLeftOutIsAnEventOfItsOwn) {
  TimelineData data = Example();
  data.gap = {.left_out = 7, .begin = 2'000, .end = 9'000};
  const Struct trace = Parsed(TraceEventsJson(data));
  std::string found;
  for (const Value& event :
       trace.fields().at("traceEvents").list_value().values()) {
    CheckEvent(event);
    const auto& fields = event.struct_value().fields();
    if (fields.at("cat").string_value() == "gap") {
      found = fields.at("name").string_value();
    }
  }
  EXPECT_EQ(found, "7 events left out");
}

TEST(TraceEventsTest, AnEmptyTimelineIsATraceToo) {
  const Struct trace = Parsed(TraceEventsJson({}));
  for (const Value& event :
       trace.fields().at("traceEvents").list_value().values()) {
    CheckEvent(event);
  }
}

TEST(TimelineJsonTest, HasOneRowForEachEvent) {
  const Struct parsed = Parsed(TimelineJson(Example()));
  EXPECT_EQ(parsed.fields().at("lanes").list_value().values(2).string_value(),
            "a \"lane\" </script>");
  const auto& events = parsed.fields().at("events").list_value();
  ASSERT_EQ(events.values_size(), 2);
  const auto& call = events.values(0).list_value();
  EXPECT_EQ(call.values(0).string_value(), "call");
  EXPECT_EQ(call.values(2).number_value(), 1234);
  EXPECT_EQ(call.values(6).number_value(), 1);
}

}  // namespace
}  // namespace passthru::vmm
