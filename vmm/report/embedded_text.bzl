# SPDX-License-Identifier: Apache-2.0
"""Defines embedded_text, which puts text files into a header."""

def embedded_text(name, out, namespace, texts):
    """Makes a header with a constant for each text file.

    Args:
      name: of the rule.
      out: the header.
      namespace: of the constants.
      texts: a dictionary from files to the constants' names. No file may have
        the characters `)TEXT"`.
    """
    lines = [
        "echo '// SPDX-License-Identifier: Apache-2.0'",
        "echo '#pragma once'",
        "echo '#include <string_view>'",
        "echo 'namespace %s {'" % namespace,
    ]
    for text, constant in texts.items():
        lines += [
            "printf 'inline constexpr std::string_view %s = R\"TEXT('" % constant,
            "cat $(location %s)" % text,
            "printf ')TEXT\";\\n'",
        ]
    lines.append("echo '}  // namespace %s'" % namespace)
    native.genrule(
        name = name,
        srcs = texts.keys(),
        outs = [out],
        cmd = "{ " + "; ".join(lines) + "; } > $@",
        visibility = ["//visibility:private"],
    )
