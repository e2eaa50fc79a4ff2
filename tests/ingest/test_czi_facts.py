"""CZI: what the XML says of an image, and when its time points were."""

from itertools import product
from pathlib import Path

import pytest

from microtome_core.errors import SourceError
from microtome_ingest.sources import czi
from tests.ingest.czi_made import Tile, noise, saved
from tests.ingest.test_czi import NONE

XML = """<ImageDocument><Metadata>
<Information>
 <Image>
  <SizeT>{times}</SizeT><ComponentBitCount>12</ComponentBitCount>
  <AcquisitionDateAndTime>2021-06-15T06:09:43Z</AcquisitionDateAndTime>
  <PixelType>Gray8</PixelType>
  <MicroscopeRef Id="M:1"/>
  <ObjectiveSettings><ObjectiveRef Id="O:2"/><RefractiveIndex>1.33</RefractiveIndex>
  </ObjectiveSettings>
  <Dimensions>
   <Channels>
    <Channel Id="C:0" Name="green"><ExcitationWavelength>488</ExcitationWavelength>
     <EmissionWavelength>520</EmissionWavelength><Fluor>GFP</Fluor>
     <ExposureTime>150000000</ExposureTime><Color>#FF00FF20</Color></Channel>
    <Channel Id="C:1" Name="red"/>
   </Channels>
   <S><Scenes>
    <Scene Index="0" Name="D6"><CenterPosition>49500,-35500.5</CenterPosition></Scene>
    <Scene Index="1" Name="D7"><Positions><Position X="1" Y="2" Z="-3"/></Positions></Scene>
   </Scenes></S>
   <T><Positions><Interval><Increment>5</Increment></Interval></Positions></T>
  </Dimensions>
 </Image>
 <Document><Title>brain</Title><Description>a test</Description></Document>
 <Instrument>
  <Microscopes><Microscope Id="M:1" Name="LSM 880"/></Microscopes>
  <Objectives><Objective Id="O:1"><LensNA>9</LensNA></Objective>
   <Objective Id="O:2"><LensNA>1.2</LensNA><NominalMagnification>40</NominalMagnification>
   <Manufacturer><Model>W 40x</Model></Manufacturer></Objective></Objectives>
 </Instrument>
</Information>
<Scaling><Items>
 <Distance Id="X"><Value>5E-07</Value></Distance><Distance Id="Y"><Value>5E-07</Value></Distance>
 <Distance Id="Z"><Value>0</Value></Distance>
</Items></Scaling>
<DisplaySetting><Channels>
 <Channel Id="C:1"><Low>0.1</Low><High>0.5</High><Color>#FF0000</Color></Channel>
</Channels></DisplaySetting>
</Metadata></ImageDocument>"""


def timed(tmp_path: Path, stamps: list[float], times: int = 3) -> str:
    """Write a file of two scenes, two channels, three times and two depths."""
    every = product(range(2), range(2), range(3), range(2))
    places = [{"S": s, "C": c, "T": t, "Z": z} for s, c, t, z in every]
    tiles = [Tile(noise((5, 4)), place) for place in places]
    return saved(tmp_path, tiles, xml=XML.format(times=times), stamps=stamps)


def test_the_xml_says_what_was_recorded(tmp_path: Path) -> None:
    """Voxel size, where 0 is unknown; names, colours, wavelengths, ranges; when, where, by what."""
    path = timed(tmp_path, [0.0, 2.5, 5.0])
    assert [one.name for one in czi.scenes(path)] == ["D6", "D7"]
    found = czi.open_image(path, 1).description
    assert (found.voxel_size, found.unit) == ({"y": 0.5, "x": 0.5}, "micrometer")
    assert found.dtype == "uint16"
    assert (found.time_step, found.notes) == (2.5, ())
    green, red = found.channels
    assert (green.name, green.color, green.window) == ("green", "00FF20", None)
    assert green.metadata == {
        "excitation_wavelength_in_nm": 488,
        "emission_wavelength_in_nm": 520,
        "indicator": "GFP",
        "exposure_time_in_s": 0.15,
    }
    assert (red.name, red.color) == ("red", "FF0000")
    assert red.window == pytest.approx((6553.5, 32767.5))
    kept = dict(found.metadata)
    assert kept.pop("CZI") == XML.format(times=3)
    assert kept == {
        "name": "D7",
        "description": "a test",
        "acquisition_date": "2021-06-15T06:09:43Z",
        "significant_bits": 12,
        "instrument": {"Model": "LSM 880"},
        "objective": {
            "Model": "W 40x",
            "LensNA": 1.2,
            "NominalMagnification": 40,
            "RefractiveIndex": 1.33,
        },
        "stage_position": {"x": 1, "y": 2, "z": -3, "unit": "micrometer"},
    }
    first = czi.open_image(path, 0).description.metadata["stage_position"]
    assert first == {"x": 49500, "y": -35500.5, "unit": "micrometer"}


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    """Each time point is in the record, and no step is made up."""
    found = czi.open_image(timed(tmp_path, [0.0, 1.0, 9.0]), 0).description
    assert (found.time_step, found.metadata["time_points"]) == (None, [0.0, 1.0, 9.0])
    assert "not even" in found.notes[0]


def test_without_time_stamps_the_interval_counts(tmp_path: Path) -> None:
    """It is what was asked for; a recording that was to be longer is told."""
    found = czi.open_image(timed(tmp_path, [], times=8), 0).description
    assert found.time_step == 5
    assert found.notes == ("its metadata say 8 along T, but it holds 3",)
    others = czi.open_image(timed(tmp_path, [0.1 * i for i in range(12)]), 0).description
    assert others.time_step == 5  # twelve stamps are not those of three time points


def test_a_subblock_says_where_the_stage_stood(tmp_path: Path) -> None:
    """Where the file's own XML does not."""
    xml = b"<METADATA><Tags><StageXPosition>-7.5</StageXPosition></Tags></METADATA>"
    path = saved(tmp_path, [Tile(noise((4, 4)), NONE, xml=xml)])
    kept = czi.open_image(path).description.metadata
    assert kept["stage_position"] == {"x": -7.5, "unit": "micrometer"}


def test_metadata_too_long_for_a_record_are_told(tmp_path: Path) -> None:
    """They are left out, and not cut."""
    xml = f"<ImageDocument><!--{'x' * (17 << 20)}--></ImageDocument>"
    found = czi.open_image(saved(tmp_path, [Tile(noise((4, 4)), NONE)], xml=xml)).description
    assert found.metadata["CZI"].startswith("left out")
    assert "too long to be kept" in found.notes[0]


@pytest.mark.parametrize(
    ("xml", "reason"),
    [("<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", "entities"), ("<a><b></a>", "not well formed")],
)
def test_xml_that_is_none_is_refused(tmp_path: Path, xml: str, reason: str) -> None:
    """Entities are never expanded."""
    with pytest.raises(SourceError, match=reason):
        czi.open_image(saved(tmp_path, [Tile(noise((4, 4)), NONE)], xml=xml))
