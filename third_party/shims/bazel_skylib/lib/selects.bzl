"""The part of @bazel_skylib//lib:selects.bzl that our dependencies use."""

def _config_setting_group(name, match_any, visibility = None):
    """A condition that holds when any of the conditions match_any holds.

    Args:
      name: the condition, to be used as a key of select().
      match_any: labels of config_setting or constraint_value targets.
      visibility: as everywhere.
    """

    # A chain of aliases: link i is match_any[i] if that holds, else link i+1.
    # The last one may simply stand for itself. (One select() over all of them
    # would be an error as soon as two hold.)
    for i in range(len(match_any)):
        condition = match_any[i]
        last = i == len(match_any) - 1
        native.alias(
            name = name if i == 0 else "%s_%d" % (name, i),
            actual = select({
                condition: condition,
                "//conditions:default": condition if last else ":%s_%d" % (name, i + 1),
            }),
            visibility = visibility if i == 0 else ["//visibility:private"],
        )

selects = struct(config_setting_group = _config_setting_group)
