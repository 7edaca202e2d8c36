"""Settings of the page's process."""

from pydantic import Field

from gateway.settings import MEGABYTE
from shared.settings import Settings


class DemoSettings(Settings):
    """What the page reads besides the common settings."""

    demo_host: str = Field("127.0.0.1", description="address of the page")
    demo_port: int = Field(9995, ge=0, le=65_535, description="port of the page; a taken one is replaced by a free one")
    demo_api_url: str = Field("", description="gateway the page uses; empty: a private stack is started")
    demo_max_upload_bytes: int = Field(25 * MEGABYTE, ge=1, description="largest file the page takes")
    demo_keep_uploads_s: int = Field(7200, ge=60, description="how long the page keeps uploaded files")
