"""S3 whose objects cannot change between two reads without a word."""

from collections.abc import Mapping

from s3fs import S3FileSystem


class PinnedS3(S3FileSystem):  # type: ignore[misc]  # s3fs has no types
    """Asks for every range with ``If-Match``: another version is refused with status 412."""

    pinned = True
    # s3fs repeats calls beside botocore, which does so three times as well.
    retries = 2

    async def _cat_file(
        self,
        path: str,
        version_id: str | None = None,
        start: int | None = None,
        end: int | None = None,
        *,
        etags: Mapping[str, str] | None = None,
        **_: object,
    ) -> bytes:
        """Return bytes `start` to `end` of the version in `etags`."""
        bucket, key, _version = self.split_path(path)
        wanted = {"Range": f"bytes={start}-{(end or 0) - 1}"}
        if etags and etags.get(path):
            wanted["IfMatch"] = etags[path]
        answer = await self._call_s3("get_object", Bucket=bucket, Key=key, **wanted)
        async with answer["Body"] as body:
            return bytes(await body.read())
