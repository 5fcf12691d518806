"""source_archive: a pinned source tree that is to be had in several places."""

# The folder that ./bazelw fills and that --distdir in .bazelrc names.
_DISTFILES = "distfiles"

def _unpack(ctx, name, prefix):
    # Not with Bazel's own ctx.extract(), which crashes in Debian 13's package of
    # Bazel: that lacks a class which unpacking takes.
    result = ctx.execute([
        "tar",
        "--extract",
        "--gzip",
        "--no-same-owner",
        "--strip-components=1",
        "--file=" + name,
        prefix,
    ])
    if result.return_code != 0:
        fail("%s: %s" % (name, result.stderr))
    ctx.delete(name)

def _source_archive_impl(ctx):
    folder = ctx.path(ctx.attr._anchor).dirname.get_child(_DISTFILES)
    archives = [
        struct(
            name = name,
            sha256 = pin[0],
            prefix = pin[1],
            urls = pin[2:],
            is_here = folder.get_child(name).exists,
        )
        for name, pin in ctx.attr.archives.items()
    ]

    # What is here first; then what has an address; a file without one last,
    # for it can only come out of a --distdir of the user's own.
    candidates = (
        [archive for archive in archives if archive.is_here] +
        [archive for archive in archives if not archive.is_here and archive.urls] +
        [archive for archive in archives if not archive.is_here and not archive.urls]
    )
    for archive in candidates:
        # Bazel looks for a file of the output's name, with this checksum, in the
        # folders of --distdir before it opens an address.
        here = "file://%s" % folder.get_child(archive.name)
        result = ctx.download(
            url = [here] if archive.is_here else archive.urls or [here],
            output = archive.name,
            sha256 = archive.sha256,
            allow_fail = len(candidates) > 1,
        )
        if result.success:
            _unpack(ctx, archive.name, archive.prefix)
            ctx.file("WORKSPACE", "workspace(name = \"%s\")\n" % ctx.name)
            if ctx.attr.build_file:
                ctx.file("BUILD.bazel", ctx.read(ctx.attr.build_file))
            for file in ctx.attr.files:
                ctx.symlink(file, file.name)
            return
    fail("No archive of @%s could be had; ./bazelw fetches them into third_party/%s: %s" %
         (ctx.name, _DISTFILES, ", ".join([archive.name for archive in candidates])))

source_archive = repository_rule(
    implementation = _source_archive_impl,
    attrs = {
        "archives": attr.string_list_dict(
            mandatory = True,
            doc = "File name -> [sha256, folder inside the archive that is the " +
                  "root, address...]. Each holds the same sources; the first " +
                  "that can be had is used. A file without an address comes " +
                  "from third_party/distfiles.",
        ),
        "build_file": attr.label(
            allow_single_file = True,
            doc = "Replaces the archive's own BUILD file at the root.",
        ),
        "files": attr.label_list(
            allow_files = True,
            doc = "Put at the root, beside what the archive has.",
        ),
        "_anchor": attr.label(default = "//third_party:BUILD.bazel"),
    },
    doc = """Unpacks the first of several archives of the same source tree.

Like http_archive, whose one checksum cannot name both an upstream project's own
archive and a distribution's repack of it.""",
)
