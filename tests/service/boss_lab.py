"""A collection, a frame, an experiment and a channel of ids, made through the BossDB API."""

from typing import Any

FRAME = {
    "x_stop": 90, "y_stop": 70, "z_stop": 12,
    "x_voxel_size": 4, "y_voxel_size": 4, "z_voxel_size": 30.5, "voxel_unit": "nanometers",
}  # fmt: skip
EXPERIMENT = {"coord_frame": "CF_lab_exp", "num_hierarchy_levels": 3}
SEG = "/v1/collection/lab/experiment/exp/channel/seg"


def furnish(call: Any) -> None:  # noqa: ANN401 - a caller of an app
    """Create them all, each described as it was asked for."""
    made = [
        ("/v1/collection/lab", {"name": "lab", "description": "of mine"}),
        ("/v1/coord/CF_lab_exp", {"name": "CF_lab_exp", **FRAME}),
        ("/v1/collection/lab/experiment/exp", {"name": "exp", "collection": "lab", **EXPERIMENT}),
        (SEG, {"name": "seg", "type": "annotation", "datatype": "uint64", "sources": ["em"]}),
    ]
    for url, body in made:
        answer = call("POST", url, json=body)
        assert answer.status_code == 201, answer.text
        assert call.get(url).json() == answer.json()
