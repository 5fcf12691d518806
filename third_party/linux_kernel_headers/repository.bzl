"""The UAPI headers of one kernel series, every file pinned.

They come out of Debian's package linux-libc-dev if ./bazelw has put one into
third_party/distfiles, and from the kernel's sources otherwise: the same bytes,
checked against the same checksums.
"""

# What :uapi promises and all that those files include in turn, on x86-64, with
# the accepted sha256 of each file as `make headers_install` leaves it. Within a
# series of the kernel they hardly ever change. (./bazelw reads these lines too.)
_PINS = {
    "asm-generic/bitsperlong.h": ["3a8e58cc67210c5a2b3bf24c84a96328e974dfe94206c74e5478d3142c991cf7"],
    "asm-generic/errno-base.h": ["2c148e92b8318deeb767fabd60822113e575ee664ff09a1873aed8f7a495793c"],
    "asm-generic/errno.h": ["fb7b5a504015f3a9074c641e7371b250d867d751d90e4a22a8ac17fced3d50af"],
    "asm-generic/fcntl.h": ["0908276bc4c3da9314d4986bd07c19f9ce8f403f602d40a8be0599249db95515"],
    "asm-generic/int-ll64.h": ["eb8b891e775ebb50af0353fdcbc625854fd98780399b3a57a404d36af6c29749"],
    "asm-generic/ioctl.h": ["76396e5537d75285c3ca20e3b6a79b101eebfdc14d39c104ff7eab778672160e"],
    "asm-generic/posix_types.h": ["8d273280f282bf9e810f00ad9905977161dec3f103ef789892ceec8c453e1398"],
    "asm-generic/types.h": ["09b4477d655ddd2c5657e83a0761700d6706f012c7365f310a6b0a6696936a10"],
    "asm/bitsperlong.h": ["8ef5efeb3f25ae47ce03ba892f5caf77631b1257715fc12de72c21e61db17e43"],
    "asm/bootparam.h": ["ecb2e6bdb4493c37f0be14b2c4a02207075f8c2da85d022517d67ed2f5027020"],
    "asm/errno.h": ["4ee384515a4325315992e61dd957f0fa91f3858fe7c079de59f56edded51de86"],
    "asm/fcntl.h": ["716ef40c102b1701970c7b0c34e6633d8a0ea1c89e7527252fcb07e63074221d"],
    "asm/ioctl.h": ["9c6ca9e365296a6b66747cbebdcf76972b8cce7aab91e55bf4ab1f3581df9c2a"],
    "asm/ist.h": ["5a875cd18833fc387e2af4133fe75f9dcbcad1a585c77a4e58bb11ec306ba805"],
    "asm/kvm.h": ["e812e5d92a9fde76872400a07be9c2f24b8337406c48df6469aa9a0e6fc1cada"],
    "asm/kvm_para.h": ["85e788acb0694ace2f41e689e4e39429d77750ecd7d003a2899e831d7aacd269"],
    "asm/posix_types.h": ["983090c7e5e7eaff27114ec216889a8ad26e40ad8fbb78b8ae6c09391dc61543"],
    "asm/posix_types_64.h": ["5cdabc01dac0a3e9731ac16353210a615ca44e85b6ec9eafd2e79206e0b26c76"],
    "asm/setup_data.h": ["97088a28c0f9667ac01b08d17db0e40810d95d127fa8eb57149fa697f19d0aeb"],
    "asm/types.h": ["b6bdcd528bce555b2ecb58e8a1624e3e13e09312c31318023c4e86b957e2b01f"],
    "linux/apm_bios.h": ["ff89220a3b3bad9b66bac8897e7f66654b40d63054951329cec62f34c96dc1db"],
    "linux/bits.h": ["45258dc8aa70c6bd9fbbe10dd9f35155ba52c4e8b511554fc304d594adb4ad6d"],
    "linux/const.h": ["fdaa1ed0c969d05cdcf7a096ee4d6f6d799aa06821154d1f803de3372861b323"],
    "linux/edd.h": ["620fa9820ebe4e9934199ba51675f1b77b3ba76b2c6bcbd5d94f3d48d2d5ee8f"],
    "linux/errno.h": ["a47fb2f49bce0546a1e88805cec954338abb1b2ac87de042166e8e3a74b23261"],
    "linux/eventfd.h": ["cbaaae4a5c71c5988ccffa4b292770be689e90ce6246f77237518bd4f1658eba"],
    "linux/fcntl.h": ["0d7d57e2b9f9ede1461d1f63f687bed72c710a9e3fbe03e4cd4191829b77e269"],
    "linux/ioctl.h": ["ba73b5892de6605e6c40b151820e367dfcb98cbdb3f8f468c5ef2bd8437df873"],
    "linux/iommufd.h": ["171e417bc4397ec023219fb44416f61617f322e3783ae6bb348c3471728aed3c"],
    "linux/kvm.h": ["91a4e5c3d23a86900df80c0b3b837a1e18ce38aeca2a50ca86b313c1a8c32640"],
    "linux/kvm_para.h": ["8fd96cac11d7f74b300cb6a87fdaaef2bada722871ebbe3085a7e9f43d051c9f"],
    "linux/openat2.h": ["d152b660d23065a6fb368a9304700a9aedceb226a7e317b12cef615b5f82b27a"],
    "linux/pci_regs.h": [
        "ca2f5c824dff2dcdfb23448f5901e8cda52542da61624e8815bd59ecac7e001b",
        "3b65378a609204f7177dad358eee20544390f0565221f31a9dd386b8c54eb7bf",  # Since 6.12.117: more error names.
    ],
    "linux/posix_types.h": ["bc68636a383418f235d3457e4b21cf27cefc7c7f3edea4c1f6706f1018db196f"],
    "linux/screen_info.h": ["7dd83c6e0b85ea7ab73cab7f5a6df22b5202e8fe37164722dba23ab2859a5bbc"],
    "linux/stddef.h": ["d9d06920429953d634a7a1870c26c08fba34cc526403c9e63dee1e37091c646c"],
    "linux/types.h": ["4152b3c5d095f5cf0adf5cc13ee0670e737eb7c4efef5fa08e9d1eb87e68ed78"],
    "linux/vfio.h": ["facabf202818f0b9e92fa396dbaee82d75afa347e647ce06dba5ce8819e464ef"],
    "video/edid.h": ["d5380466925236664e1aea5f2c4fe69b5b8edb0f224c6f9d31c00f9a13c72e19"],
}

# A tag of the series, in the stable kernels' repository.
_TAG = "v6.12.107"
_SERIES = _TAG[1:_TAG.rindex(".")]
_KERNEL = "https://github.com/gregkh/linux/raw/%s/" % _TAG

# `make headers_install` writes these itself.
_GENERATED = [
    "asm/errno.h",
    "asm/fcntl.h",
    "asm/ioctl.h",
    "asm/types.h",
]

_BUILD = """\
licenses(["restricted"])  # GPL-2.0 WITH Linux-syscall-note.

cc_library(
    name = "uapi",
    hdrs = [
        %s
    ],
    includes = ["include"],
    visibility = ["//visibility:public"],
)
"""

def _run(ctx, *arguments):
    """Returns what a command prints. It must succeed."""
    result = ctx.execute(arguments)
    if result.return_code != 0:
        fail("%s: %s" % (arguments[0], result.stderr))
    return result.stdout

def _find_packages(ctx):
    """Returns the linux-libc-dev packages of the series in distfiles."""
    folder = ctx.path(ctx.attr._distfiles_anchor).dirname.get_child("distfiles")
    return [
        file
        for file in (folder.readdir() if folder.exists else [])
        if file.basename.startswith("linux-libc-dev_%s." % _SERIES) and
           file.basename.endswith(".deb")
    ]

def _take_from_package(ctx, package):
    """Copies the files of _PINS out of a linux-libc-dev package to include/."""
    _run(ctx, "dpkg-deb", "--extract", package, "package")
    for name in _PINS:
        folder = "x86_64-linux-gnu/" if name.startswith("asm/") else ""
        _run(ctx, "install", "-D", "-m", "644", "package/usr/include/" + folder + name, "include/" + name)
    ctx.delete("package")

def _take_from_kernel(ctx):
    """Makes the files of _PINS in include/ out of the kernel's sources."""
    for name in _PINS:
        if name in _GENERATED:
            ctx.file("include/" + name, "#include <asm-generic/%s>\n" % name[len("asm/"):], False)
            continue
        folder = "arch/x86/include/uapi/" if name.startswith("asm/") else "include/uapi/"

        # No checksum yet: that of the exported form is checked below.
        ctx.download(_KERNEL + folder + name, "raw.h")
        exported = _run(ctx, "bash", "-c", "exec \"$0\" < raw.h", ctx.path(ctx.attr._export))
        ctx.file("include/" + name, exported, False)
    ctx.delete("raw.h")

def _find_mismatch(ctx):
    """Says which file in include/ is not a pinned one, or returns None."""
    sums = _run(ctx, "sha256sum", *["include/" + name for name in _PINS])
    for line in sums.splitlines():
        sha256, _, path = line.partition("  ")
        if sha256 not in _PINS[path[len("include/"):]]:
            return "%s has the sha256 %s, which is not pinned" % (path, sha256)
    return None

def _take_headers(ctx):
    """Fills include/ from the first place that has the pinned files."""
    failures = []
    for package in _find_packages(ctx):
        _take_from_package(ctx, package)
        mismatch = _find_mismatch(ctx)
        if not mismatch:
            return
        failures.append("%s: %s" % (package, mismatch))
    if failures:
        # buildifier: disable=print
        print("Downloading the kernel headers, for:\n" + "\n".join(failures))
    _take_from_kernel(ctx)
    mismatch = _find_mismatch(ctx)
    if mismatch:
        fail("%s: %s" % (_KERNEL, mismatch))

def _impl(ctx):
    _take_headers(ctx)
    ctx.file("WORKSPACE", "workspace(name = \"%s\")\n" % ctx.name)
    ctx.file("BUILD.bazel", _BUILD % "\n        ".join(["\"include/%s\"," % name for name in _PINS]))

linux_kernel_headers = repository_rule(
    implementation = _impl,
    attrs = {
        "_distfiles_anchor": attr.label(default = "//third_party:BUILD.bazel"),
        "_export": attr.label(default = "//third_party/linux_kernel_headers:export_uapi.sh"),
    },
    doc = "The target :uapi, for #include <linux/...> and <asm/...>.",
)
