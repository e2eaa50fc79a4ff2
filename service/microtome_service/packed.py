"""Static files of which some are stored compressed, as they are sent."""

import gzip
import mimetypes
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_ENDING = ".gz"


class PackedFiles(StaticFiles):
    """Answers for ``main.js`` with ``main.js.gz`` where that is what is there."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file; of one that is compressed, unpacked for the few who cannot do it."""
        try:
            return await super().get_response(path, scope)
        except HTTPException as error:
            packed, found = self.lookup_path(path + _ENDING)
            if error.status_code != 404 or found is None:
                raise
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        headers = {"Vary": "Accept-Encoding"}
        if "gzip" not in Headers(scope=scope).get("accept-encoding", ""):
            return Response(gzip.decompress(Path(packed).read_bytes()), 200, headers, kind)
        headers["Content-Encoding"] = "gzip"
        return self._packed(packed, scope, headers, kind)

    def _packed(self, packed: str, scope: Scope, headers: dict[str, str], kind: str) -> Response:
        response = FileResponse(packed, headers=headers, media_type=kind)
        # Says 304 to a browser that has it.
        etag = Headers(scope=scope).get("if-none-match")
        response.set_stat_headers(Path(packed).stat())
        if etag is not None and etag == response.headers["etag"]:
            return Response(None, 304, {"ETag": etag, "Vary": "Accept-Encoding"})
        return response
