# SPDX-License-Identifier: Apache-2.0
"""passthru_archive: the library for builds without Bazel."""

load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")

def _passthru_archive_impl(ctx):
    info = cc_common.merge_cc_infos(
        cc_infos = [dep[CcInfo] for dep in ctx.attr.deps],
    )
    libraries = []
    options = []
    for linked in info.linking_context.linker_inputs.to_list():
        options += linked.user_link_flags
        for library in linked.libraries:
            # Compilers make position-independent programs unless they are told
            # otherwise, and other objects cannot be linked into one.
            static = library.pic_static_library or library.static_library
            if library.alwayslink:
                fail("%s: one archive cannot say that all of %s must be linked" %
                     (ctx.label, static.short_path))
            if static:
                libraries.append(static)
    headers = info.compilation_context.headers

    arguments = ctx.actions.args()
    arguments.set_param_file_format("multiline")
    arguments.use_param_file("%s", use_always = True)
    arguments.add_all(headers)
    arguments.add_all(libraries)
    arguments.add_all(ctx.files.texts)

    toolchain = find_cpp_toolchain(ctx)
    ctx.actions.run(
        executable = ctx.executable._make,
        arguments = [
            ctx.outputs.out.path,
            toolchain.compiler_executable,
            toolchain.ar_executable,
            " ".join(depset(options).to_list()),
            arguments,
        ],
        inputs = depset(
            libraries + ctx.files.texts,
            transitive = [headers, toolchain.all_files],
        ),
        outputs = [ctx.outputs.out],
        mnemonic = "PassthruArchive",
        progress_message = "Packing %s" % ctx.outputs.out.short_path,
    )
    return [DefaultInfo(
        files = depset([ctx.outputs.out]),
        runfiles = ctx.runfiles([ctx.outputs.out]),
    )]

passthru_archive = rule(
    implementation = _passthru_archive_impl,
    attrs = {
        "deps": attr.label_list(
            providers = [CcInfo],
            doc = "The libraries, which include //:passthru.",
        ),
        "out": attr.output(mandatory = True, doc = "A .tar.gz file."),
        "texts": attr.label_list(
            allow_files = True,
            doc = "Files for the archive's folder, licenses and a README.md.",
        ),
        "_cc_toolchain": attr.label(
            default = "@bazel_tools//tools/cpp:current_cc_toolchain",
        ),
        "_make": attr.label(
            default = "//devices/passthrough/archive:make_archive.sh",
            allow_single_file = True,
            executable = True,
            cfg = "exec",
        ),
    },
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
    doc = "Packs passthru/passthru.h and what it includes, Abseil's and the " +
          "kernel's headers, one static library and a pkg-config file.",
)
