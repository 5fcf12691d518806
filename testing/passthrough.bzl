"""Rules for regression tests of captured devices (docs/regression-test.md).

    load("@passthru//testing:passthrough.bzl", "passthrough_regression_test")

    passthrough_regression_test(
        name = "nic_test",
        fixture = "nic.textproto",
    )

    bazel run :nic_test.update    # writes nic.golden
    bazel test :nic_test          # compares with it
"""

_DEFAULT_KERNEL = "6.12"

_RUNNER = attr.label(
    cfg = "target",
    default = "//vmm/regression:passthrough_regression",
    executable = True,
)

def _script(ctx, files, substitutions):
    """Makes the script of a rule, which runs the runner on these files."""
    ctx.actions.expand_template(
        template = ctx.file._template,
        output = ctx.outputs.executable,
        is_executable = True,
        substitutions = dict(
            substitutions,
            **{
                "@KERNEL@": ctx.attr.kernel,
                "@RUNNER@": ctx.executable._runner.short_path,
            }
        ),
    )
    runfiles = ctx.runfiles(files = files)
    return [DefaultInfo(
        runfiles = runfiles.merge(ctx.attr._runner[DefaultInfo].default_runfiles),
    )]

def _paths(files):
    return " ".join([f.short_path for f in files])

def _regression_impl(ctx):
    return _script(
        ctx,
        ctx.files.fixture + ctx.files.golden,
        {
            "@FIXTURE@": ctx.file.fixture.short_path,
            "@GOLDEN@": ctx.file.golden.short_path if ctx.file.golden else "",
            "@GOLDEN_NAME@": ctx.attr.golden_name,
            "@UPDATE_COMMAND@": ctx.attr.update_command,
        },
    )

_ATTRS = {
    "fixture": attr.label(allow_single_file = [".textproto"], mandatory = True),
    "golden": attr.label(allow_single_file = True),
    "golden_name": attr.string(mandatory = True),
    "kernel": attr.string(mandatory = True),
    "update_command": attr.string(mandatory = True),
    "_runner": _RUNNER,
    "_template": attr.label(
        allow_single_file = True,
        default = "//vmm/regression:regression.sh",
    ),
}

def _report_impl(ctx):
    return _script(
        ctx,
        ctx.files.fixtures,
        {
            "@FIXTURES@": _paths(ctx.files.fixtures),
            "@NAME@": ctx.label.name,
        },
    )

_report = rule(
    _report_impl,
    attrs = {
        "fixtures": attr.label_list(allow_files = [".textproto"], mandatory = True),
        "kernel": attr.string(mandatory = True),
        "_runner": _RUNNER,
        "_template": attr.label(
            allow_single_file = True,
            default = "//vmm/regression:report.sh",
        ),
    },
    executable = True,
)

_regression_test = rule(_regression_impl, attrs = _ATTRS, test = True)

def _regression_table_impl(ctx):
    return _script(
        ctx,
        ctx.files.fixtures + ctx.files.goldens + ctx.files.table,
        {
            "@FIXTURES@": _paths(ctx.files.fixtures),
            "@TABLE@": ctx.file.table.short_path if ctx.file.table else "",
            "@TABLE_NAME@": ctx.attr.table_name,
            "@UPDATE_COMMAND@": ctx.attr.update_command,
        },
    )

_regression_table_test = rule(
    _regression_table_impl,
    attrs = {
        "fixtures": attr.label_list(allow_files = [".textproto"], mandatory = True),
        "goldens": attr.label_list(allow_files = [".golden"]),
        "kernel": attr.string(mandatory = True),
        "table": attr.label(allow_single_file = True),
        "table_name": attr.string(mandatory = True),
        "update_command": attr.string(mandatory = True),
        "_runner": _RUNNER,
        "_template": attr.label(
            allow_single_file = True,
            default = "//vmm/regression:regression_table.sh",
        ),
    },
    test = True,
)

def _update_impl(ctx):
    ctx.actions.write(
        ctx.outputs.executable,
        "\n".join(["#!/bin/bash", "status=0"] + [
            # The path of a test in the root package has no folder.
            "./" + test.short_path + " --update || status=$?"
            for test in ctx.files.tests
        ] + ["exit \"${status}\"", ""]),
        is_executable = True,
    )
    runfiles = ctx.runfiles(files = ctx.files.tests)
    for test in ctx.attr.tests:
        runfiles = runfiles.merge(test[DefaultInfo].default_runfiles)
    return [DefaultInfo(runfiles = runfiles)]

_update = rule(
    _update_impl,
    attrs = {"tests": attr.label_list(allow_files = True)},
    executable = True,
)

def _stem(fixture):
    return fixture.split("/")[-1].split(":")[-1].rpartition(".")[0]

def passthrough_regression_test(
        name,
        fixture,
        golden = None,
        kernel = _DEFAULT_KERNEL,
        **kwargs):
    """Compares the transcript of a captured device with its golden transcript.

    Also makes NAME.update, a program that writes the golden transcript, and
    NAME.report, one that prints the run as a page.

    Args:
      name: the name of the test.
      fixture: the capture, a file or label that ends in ".textproto".
      golden: the golden transcript, a file of this package. The default is the
        fixture's name with ".golden", and for a kernel other than the default
        one with ".linux-KERNEL.golden". The file need not exist at first.
      kernel: the simulated Linux, one of "6.1", "6.12", "6.18" and "7.2". Each
        has its own golden transcript.
      **kwargs: the common attributes of tests.
    """
    if not golden:
        suffix = "" if kernel == _DEFAULT_KERNEL else ".linux-" + kernel
        golden = _stem(fixture) + suffix + ".golden"
    package = native.package_name()
    _regression_test(
        name = name,
        size = kwargs.pop("size", "small"),
        fixture = fixture,
        golden = golden if native.glob([golden]) else None,
        golden_name = package + "/" + golden if package else golden,
        kernel = kernel,
        update_command = "bazel run //%s:%s.update" % (package, name),
        **kwargs
    )
    _update(
        name = name + ".update",
        testonly = True,
        tags = ["manual"],
        tests = [name],
    )
    _report(
        name = name + ".report",
        testonly = True,
        fixtures = [fixture],
        kernel = kernel,
        tags = ["manual"],
    )

def passthrough_regression_tests(name, fixtures, kernel = _DEFAULT_KERNEL, **kwargs):
    """Makes a passthrough_regression_test for each of several captures.

    The test of nic.textproto is nic_NAME. NAME is the suite of all tests, and
    NAME.update writes all golden transcripts.

    Args:
      name: the name of the suite.
      fixtures: the captures, for example glob(["*.textproto"]).
      kernel: the simulated Linux, as for one test.
      **kwargs: the common attributes of tests.
    """
    tests = [_stem(fixture) + "_" + name for fixture in fixtures]
    for test, fixture in zip(tests, fixtures):
        passthrough_regression_test(
            name = test,
            fixture = fixture,
            kernel = kernel,
            **kwargs
        )
    native.test_suite(
        name = name,
        tests = tests,
    )
    _update(
        name = name + ".update",
        testonly = True,
        tags = ["manual"],
        tests = tests,
    )

def passthrough_regression_table_test(
        name,
        fixtures,
        table,
        kernel = _DEFAULT_KERNEL,
        update = [],
        **kwargs):
    """Compares many captures with one table, and some with golden transcripts.

    The table has a row for each capture, with a digest of the whole transcript.
    A capture nic.textproto beside which there is a nic.golden is also compared
    with that. `bazel run` of NAME.update, which this also makes, writes the
    table and those golden transcripts that exist. `bazel run NAME.report -- nic`
    prints the run of that capture as a page.

    Args:
      name: the name of the test.
      fixtures: the captures of this package, for example glob(["*.textproto"]).
      table: a file of this package. It need not exist at first.
      kernel: as for passthrough_regression_test.
      update: tests of this package that NAME.update updates as well.
      **kwargs: the common attributes of tests.
    """
    package = native.package_name()
    _regression_table_test(
        name = name,
        size = kwargs.pop("size", "small"),
        fixtures = fixtures,
        goldens = native.glob([_stem(f) + ".golden" for f in fixtures]),
        kernel = kernel,
        table = table if native.glob([table]) else None,
        table_name = package + "/" + table if package else table,
        update_command = "bazel run //%s:%s.update" % (package, name),
        **kwargs
    )
    _update(
        name = name + ".update",
        testonly = True,
        tags = ["manual"],
        tests = [name] + update,
    )
    _report(
        name = name + ".report",
        testonly = True,
        fixtures = fixtures,
        kernel = kernel,
        tags = ["manual"],
    )
