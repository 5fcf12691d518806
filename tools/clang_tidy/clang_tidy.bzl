"""clang_tidy: an aspect that runs clang-tidy over a C++ target's sources.

One cached action per library, binary or test, whose sources are compiled as one
(tools/cc.bzl). To be used with --config=clang, for clang-tidy knows Clang's flags
only; --config=lint does both.
"""

load("@bazel_tools//tools/build_defs/cc:action_names.bzl", "CPP_COMPILE_ACTION_NAME")
load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")

def _compile_flags(ctx, target):
    """Returns the arguments of the compiler for the target's sources."""
    toolchain = find_cpp_toolchain(ctx)
    features = cc_common.configure_features(
        ctx = ctx,
        cc_toolchain = toolchain,
        requested_features = ctx.features,
        # These want files that only a compilation has.
        unsupported_features = ctx.disabled_features + [
            "layering_check",
            "module_maps",
        ],
    )
    context = target[CcInfo].compilation_context
    variables = cc_common.create_compile_variables(
        feature_configuration = features,
        cc_toolchain = toolchain,
        user_compile_flags = ctx.fragments.cpp.copts +
                             ctx.fragments.cpp.cxxopts +
                             getattr(ctx.rule.attr, "copts", []),
        include_directories = context.includes,
        quote_include_directories = context.quote_includes,
        system_include_directories = context.system_includes,
        preprocessor_defines = depset(transitive = [context.defines, context.local_defines]),
    )
    return cc_common.get_memory_inefficient_command_line(
        feature_configuration = features,
        action_name = CPP_COMPILE_ACTION_NAME,
        variables = variables,
    )

def _clang_tidy_impl(target, ctx):
    # Neither other people's code nor generated code.
    if target.label.workspace_name or not ctx.rule.kind in ("cc_binary", "cc_library", "cc_test"):
        return []
    flags = _compile_flags(ctx, target)
    context = target[CcInfo].compilation_context
    stamps = []
    for source in ctx.rule.files.srcs:
        if source.extension != "cc":
            continue
        if not source.is_source and not source.basename.endswith("_unity.cc"):
            continue
        stamp = ctx.actions.declare_file("%s.%s.clang_tidy" % (target.label.name, source.basename))
        arguments = ctx.actions.args()
        arguments.add(stamp)
        arguments.add(ctx.executable._clang_tidy)
        arguments.add("--quiet")
        arguments.add(ctx.file._config, format = "--config-file=%s")
        arguments.add(source)
        arguments.add("--")
        arguments.add_all(flags)
        ctx.actions.run(
            outputs = [stamp],
            inputs = depset([source, ctx.file._config], transitive = [context.headers]),
            executable = ctx.executable._run,
            tools = [ctx.executable._clang_tidy],
            arguments = [arguments],
            mnemonic = "ClangTidy",
            progress_message = "Linting %s" % source.short_path,
        )
        stamps.append(stamp)
    return [OutputGroupInfo(clang_tidy = depset(stamps))]

clang_tidy = aspect(
    implementation = _clang_tidy_impl,
    attrs = {
        "_cc_toolchain": attr.label(default = "@bazel_tools//tools/cpp:current_cc_toolchain"),
        "_clang_tidy": attr.label(
            default = "@clang_tidy//:program",
            cfg = "exec",
            executable = True,
        ),
        "_config": attr.label(
            default = "//:.clang-tidy",
            allow_single_file = True,
        ),
        "_run": attr.label(
            default = "//tools/clang_tidy:run_clang_tidy",
            cfg = "exec",
            executable = True,
        ),
    },
    fragments = ["cpp"],
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
)
