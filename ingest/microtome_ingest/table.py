"""The formats that microtome reads itself; the first row that claims a source has it.

Content decides before names. Rows are ordered so that the special comes before the general: an OME
companion before any XML, a folder that is a store before a folder of pictures.
"""

from microtome_ingest.format import Format
from microtome_ingest.glance import (
    both,
    contains,
    either,
    ends,
    folders,
    hdf5,
    holds,
    scheme,
    starts,
    tells,
    zips,
)

_SOURCES = "microtome_ingest.sources"
_XML = starts(b"<", b"\xef\xbb\xbf<")
_GZIP = starts(b"\x1f\x8b")
_PRECOMPUTED = (b'"scales"', b'"data_type"', b'"neuroglancer_multiscale_volume"')

COMPUTED = Format(
    "synthetic://", f"{_SOURCES}.computed", scheme("synthetic://"), reader="microtome"
)
BOSSDB = Format(
    "BossDB",
    f"{_SOURCES}.bossdb",
    either(scheme("bossdb://"), scheme("bossdb+http://"), scheme("bossdb+https://")),
    ("bossdb://",),
    reader="intern",
    extra="bossdb",
    needs=("intern",),
)
PRECOMPUTED = Format(
    "precomputed://",
    f"{_SOURCES}.precomputed",
    scheme("precomputed://"),
    ("precomputed://",),
    reader="tensorstore",
    needs=("tensorstore",),
)
ADDRESSES = (COMPUTED, BOSSDB, PRECOMPUTED)
# What no other row claims.
SEQUENCE = Format(
    "folder or pattern of TIFF, PNG, JPEG or NPY files",
    f"{_SOURCES}.sequence",
    folders,
    reader="tifffile, imagecodecs",
)

FORMATS = (
    Format(
        "TIFF",
        f"{_SOURCES}.tiff",
        starts(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        (".tif", ".tiff", ".svs", ".stk", ".lsm"),
        reader="tifffile",
    ),
    Format(
        "OME companion",
        f"{_SOURCES}.tiff",
        both(_XML, ends(".companion.ome")),
        (".companion.ome",),
        reader="tifffile",
    ),
    Format("NPY", f"{_SOURCES}.npy", starts(b"\x93NUMPY"), (".npy",), reader="numpy"),
    Format(
        "NPZ",
        f"{_SOURCES}.npy",
        both(starts(b"PK\x03\x04"), ends(".npz")),
        (".npz",),
        reader="numpy",
    ),
    Format(
        "PNG",
        f"{_SOURCES}.picture",
        starts(b"\x89PNG\r\n\x1a\n"),
        (".png",),
        reader="imagecodecs",
    ),
    Format(
        "JPEG",
        f"{_SOURCES}.picture",
        starts(b"\xff\xd8\xff"),
        (".jpg", ".jpeg"),
        reader="imagecodecs",
    ),
    Format(
        "ND2",
        f"{_SOURCES}.nikon",
        either(
            starts(b"\xda\xce\xbe\x0a"),
            both(starts(b"jP  \r\n\x87\n", at=4), ends(".nd2")),
        ),
        (".nd2",),
        reader="nd2",
        extra="nd2",
        needs=("nd2",),
    ),
    Format(
        "CZI",
        f"{_SOURCES}.czi",
        starts(b"ZISRAWFILE"),
        (".czi",),
        reader="pylibCZIrw",
        extra="czi",
        needs=("pylibCZIrw",),
        isolated=True,
    ),
    Format(
        "Olympus OIB",
        f"{_SOURCES}.oif",
        both(starts(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), ends(".oib")),
        (".oib",),
        reader="oiffile",
        extra="oif",
        needs=("oiffile",),
    ),
    Format(
        "Olympus OIF",
        f"{_SOURCES}.oif",
        both(starts(b"\xff\xfe[", b"[", b"\xef\xbb\xbf["), ends(".oif")),
        (".oif",),
        reader="oiffile",
        extra="oif",
        needs=("oiffile",),
    ),
    Format(
        "Leica LIF",
        f"{_SOURCES}.lif",
        either(
            both(starts(b"\x70\0\0\0"), starts(b"\x2a", at=8)),
            # They refer to other files, and are refused by name.
            both(
                starts(b"<", b"\xef\xbb\xbf<", b"\xff\xfe<", b"<\0"),
                ends(".xlif", ".xlef", ".xlcf"),
            ),
        ),
        (".lif", ".lof"),
        reader="liffile",
        extra="lif",
        needs=("liffile",),
    ),
    Format(
        "Imaris",
        f"{_SOURCES}.imaris",
        hdf5("imaris"),
        (".ims",),
        reader="h5py",
        needs=("h5py", "hdf5plugin"),
    ),
    Format(
        "BigDataViewer HDF5",
        f"{_SOURCES}.bdv",
        either(hdf5("bdv"), both(_XML, contains(b"<SpimData"))),
        (".xml", ".h5"),
        reader="h5py",
        needs=("h5py", "hdf5plugin"),
    ),
    Format(
        "NWB",
        f"{_SOURCES}.nwb",
        hdf5("nwb"),
        (".nwb",),
        reader="h5py",
        needs=("h5py", "hdf5plugin"),
    ),
    Format(
        "HDF5",
        f"{_SOURCES}.hdf5",
        starts(b"\x89HDF\r\n\x1a\n", b"MATLAB 7.3 MAT-file"),
        (".h5", ".hdf5", ".mat"),
        reader="h5py",
        needs=("h5py", "hdf5plugin"),
    ),
    Format(
        "NIfTI",
        f"{_SOURCES}.nifti",
        either(
            starts(b"n+1\0", b"ni1\0", at=344),
            starts(b"n+2\0", b"ni2\0", at=4),
            both(_GZIP, ends(".nii.gz", ".img.gz", ".hdr.gz")),
            both(starts(b"\x5c\x01\0\0", b"\0\0\x01\x5c"), ends(".hdr")),
            ends(".img"),
        ),
        (".nii", ".nii.gz", ".hdr", ".img"),
        reader="nibabel",
        extra="nifti",
        needs=("nibabel",),
    ),
    Format(
        "NRRD",
        f"{_SOURCES}.nrrd",
        starts(b"NRRD"),
        (".nrrd", ".nhdr"),
        reader="pynrrd",
        extra="nrrd",
        needs=("nrrd",),
    ),
    Format(
        "video",
        f"{_SOURCES}.video",
        either(
            both(starts(b"RIFF"), starts(b"AVI ", at=8)),
            starts(b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", at=4),
            starts(b"\x1aE\xdf\xa3"),
            both(starts(b"CI"), ends(".cine")),
            both(starts(b"\xed\xfe\0\0"), ends(".seq")),
        ),
        (".avi", ".mp4", ".mov", ".m4v", ".mkv", ".webm"),
        reader="PyAV",
        extra="video",
        needs=("av",),
        isolated=True,
    ),
    Format(
        "Neuroglancer precomputed",
        f"{_SOURCES}.precomputed",
        either(tells("info", *_PRECOMPUTED), both(ends("info"), contains(*_PRECOMPUTED))),
        ("info",),
        reader="tensorstore",
        needs=("tensorstore",),
    ),
    Format(
        "Zarr",
        f"{_SOURCES}.zarr_source",
        either(
            # A web server does not say whether a folder is one.
            both(either(scheme("http://"), scheme("https://"), folders), ends(".zarr")),
            holds("zarr.json", ".zarray", ".zgroup", ".zattrs", "manifest.ocdbt"),
            zips("/zarr.json"),
            zips("/.zgroup"),
            zips("/.zarray"),
        ),
        (".zarr", ".zarr.zip"),
        reader="tensorstore",
        needs=("tensorstore",),
    ),
    Format(
        "N5",
        f"{_SOURCES}.n5",
        either(
            both(either(scheme("http://"), scheme("https://"), folders), ends(".n5")),
            holds("attributes.json"),
        ),
        (".n5",),
        reader="tensorstore",
        needs=("tensorstore",),
    ),
    Format(
        "trial folder (Sensorium)",
        f"{_SOURCES}.trials",
        either(holds("data/videos"), both(holds("data"), holds("meta")), zips("/data/videos/")),
        (".zip",),
        reader="numpy",
    ),
)
