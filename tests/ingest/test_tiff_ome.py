"""OME-TIFF: planes are found through the XML, in one file or many, or the file is refused."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.sources.tiff import open_image, scenes

PLANES = np.random.default_rng(4).integers(0, 60000, (4, 10, 12), "uint16")
NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def plane(z: int, file: str, ifd: int = 0, extra: str = 'PlaneCount="1"') -> str:
    """Return the TiffData of one plane."""
    uuid = f'<UUID FileName="{file}">urn:uuid:{file}</UUID>'
    return f'<TiffData FirstZ="{z}" IFD="{ifd}" {extra}>{uuid}</TiffData>'


def document(data: str, attributes: str = "", channels: str = "", more: str = "") -> str:
    """Return an OME-XML document of one image of 4 planes."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{NAMESPACE}" {more}>'
        f'<Image ID="Image:0" Name="brain"><AcquisitionDate>2024-01-02T03:04:05</AcquisitionDate>'
        f'<Pixels ID="P:0" DimensionOrder="XYZCT" Type="uint16" SizeX="12" SizeY="10" SizeZ="4" '
        f'SizeC="1" SizeT="1" {attributes}>{channels}{data}</Pixels></Image></OME>'
    )


def companion(folder: Path, **words: str) -> str:
    """Write four files of a plane each, out of order, and the companion that puts them together."""
    for z, values in enumerate(PLANES):
        tifffile.imwrite(folder / f"p{(z * 3) % 4}.tif", values, metadata=None)
    data = "".join(plane(z, f"p{(z * 3) % 4}.tif") for z in range(4))
    path = folder / "all.companion.ome"
    path.write_text(document(data, **words), encoding="utf-8")
    return str(path)


def test_a_companion_puts_files_together(tmp_path: Path) -> None:
    """Planes come in the order of the XML, whatever the files are called."""
    source = open_image(companion(tmp_path))
    assert (source.description.axes, source.description.shape) == ("zyx", (4, 10, 12))
    np.testing.assert_array_equal(source.read(Region.whole("zyx", (4, 10, 12))), PLANES)
    names = {Path(file).name for file in source.description.files}
    assert names == {"all.companion.ome", "p0.tif", "p1.tif", "p2.tif", "p3.tif"}


def test_a_missing_member_is_named(tmp_path: Path) -> None:
    """A file that the XML names and the folder lacks is an error, never zeros."""
    path = companion(tmp_path)
    (tmp_path / "p2.tif").unlink()
    with pytest.raises(SourceError, match=r"p2\.tif: missing"):
        open_image(path)


def test_a_file_that_only_refers_to_its_companion(tmp_path: Path) -> None:
    """Any member opens the whole image; without the companion it is refused."""
    path = companion(tmp_path)
    only = f'<OME xmlns="{NAMESPACE}"><BinaryOnly MetadataFile="all.companion.ome" UUID="u"/></OME>'
    tifffile.imwrite(tmp_path / "p0.tif", PLANES[0], description=only, metadata=None)
    assert open_image(str(tmp_path / "p0.tif")).description.shape == (4, 10, 12)
    Path(path).unlink()
    with pytest.raises(SourceError, match="companion"):
        open_image(str(tmp_path / "p0.tif"))


@pytest.mark.parametrize("name", ["../p0.tif", "/etc/p0.tif", "C:\\p0.tif"])
def test_members_outside_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    """The XML cannot make a reader open other files of the machine."""
    path = tmp_path / "a.companion.ome"
    path.write_text(document(plane(0, name)), encoding="utf-8")
    with pytest.raises(SourceError, match="outside of its folder"):
        open_image(str(path))


def test_planes_that_no_file_holds_are_named(tmp_path: Path) -> None:
    """An image that was not written to its end is refused."""
    tifffile.imwrite(tmp_path / "p.tif", PLANES[0], metadata=None)
    path = tmp_path / "a.companion.ome"
    path.write_text(document(plane(0, "p.tif") + plane(2, "p.tif")), encoding="utf-8")
    with pytest.raises(SourceError, match=r"2 of 4 planes are in no file, first t=0,c=0,z=1"):
        open_image(str(path))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (plane(0, "p.tif", ifd=7), "has 1 pages"),
        (plane(9, "p.tif"), "outside of the image"),
        (plane(0, "p.tif", extra='PlaneCount="9"'), "puts 9 planes"),
        ("<TiffData/>", "does not name the file"),
        ("", "describes no image"),
        ("<broken", "not well formed"),
    ],
)
def test_xml_that_contradicts_the_files_is_refused(tmp_path: Path, data: str, reason: str) -> None:
    """Planes beyond the file or the image are errors that say which."""
    tifffile.imwrite(tmp_path / "p.tif", PLANES[0], metadata=None)
    path = tmp_path / "a.companion.ome"
    path.write_text(document(data), encoding="utf-8")
    with pytest.raises(SourceError, match=reason):
        open_image(str(path))


def test_entities_are_refused(tmp_path: Path) -> None:
    """XML that would grow as it is read is not read."""
    path = tmp_path / "a.companion.ome"
    path.write_text('<!DOCTYPE OME [<!ENTITY a "aaaa">]>' + document(plane(0, "p.tif")), "utf-8")
    with pytest.raises(SourceError, match="entities"):
        open_image(str(path))


def test_a_renamed_file_still_reads(tmp_path: Path) -> None:
    """The name in the XML need not be the file's when the XML names no other."""
    xml = document("".join(plane(z, "before.ome.tif", ifd=z) for z in range(4)))
    tifffile.imwrite(tmp_path / "after.ome.tif", PLANES, description=xml, metadata=None,
                     photometric="minisblack")  # fmt: skip
    source = open_image(str(tmp_path / "after.ome.tif"))
    np.testing.assert_array_equal(source.read(Region.whole("zyx", (4, 10, 12))), PLANES)


def test_metadata_are_carried(tmp_path: Path) -> None:
    """Sizes in one unit, time step, channel, colour, wavelengths, bits and the XML itself."""
    path = companion(
        tmp_path,
        attributes='PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="0.25" '
        'PhysicalSizeZ="2" TimeIncrement="500" TimeIncrementUnit="ms" SignificantBits="12"',
        channels='<Channel ID="C:0" Name="GFP" Color="16711935" Fluor="EGFP" '
        'EmissionWavelength="509" ExcitationWavelength="0.488" ExcitationWavelengthUnit="µm"/>',
    )
    found = open_image(path).description
    assert found.voxel_size == pytest.approx({"z": 2.0, "y": 0.25, "x": 0.25})
    assert (found.unit, found.time_step) == ("micrometer", 0.5)
    (channel,) = found.channels
    assert (channel.name, channel.color) == ("GFP", "00FF00")
    assert channel.metadata == {
        "emission_wavelength_in_nm": 509.0,
        "excitation_wavelength_in_nm": 488.0,
        "indicator": "EGFP",
    }  # fmt: skip
    assert found.metadata["significant_bits"] == 12
    assert found.metadata["acquisition_date"] == "2024-01-02T03:04:05"
    assert found.metadata["OME"] == Path(path).read_text(encoding="utf-8")


@pytest.mark.parametrize("size", ["0", "inf", "nan", "1e-19", "-1"])
def test_sizes_that_mean_unknown_are_left_out(tmp_path: Path, size: str) -> None:
    """Nothing that only stands for a voxel size is taken for one."""
    path = companion(tmp_path, attributes=f'PhysicalSizeX="{size}" PhysicalSizeY="0.5"')
    assert open_image(path).description.voxel_size == {"y": 0.5}


def test_several_images_are_scenes(tmp_path: Path) -> None:
    """Each Image of the XML is opened by its number."""
    path = str(tmp_path / "a.ome.tif")
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(PLANES, metadata={"axes": "ZYX", "Name": "one"}, photometric="minisblack")
        writer.write(
            PLANES[:2, :5], metadata={"axes": "TYX", "Name": "two"}, photometric="minisblack"
        )
    assert [(s.name, s.axes, s.shape) for s in scenes(path)] == [
        ("one", "zyx", (4, 10, 12)),
        ("two", "tyx", (2, 5, 12)),
    ]
    with pytest.raises(SourceError, match="--scene"):
        open_image(path)
    second = open_image(path, 1).read(Region.whole("tyx", (2, 5, 12)))
    np.testing.assert_array_equal(second, PLANES[:2, :5])
