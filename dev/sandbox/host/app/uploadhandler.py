"""Form uploads above the memory limit go to MEDIA_TMP and stay there: whoever takes them moves them, the clean-up finds the rest."""
import tempfile

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler


class ClosedTemporaryUploadedFile(UploadedFile):
    """An uploaded file on disk that is closed once it is complete, so that a thousand images need no thousand descriptors."""

    def __init__(self, name, content_type, size, charset, content_type_extra=None):
        file = tempfile.NamedTemporaryFile(suffix=".upload", dir=settings.FILE_UPLOAD_TEMP_DIR, delete=False)
        super().__init__(file, name, content_type, size, charset, content_type_extra)

    def temporary_file_path(self) -> str:
        """Where the file lies."""
        return self.file.name


class TemporaryFileUploadHandler(FileUploadHandler):
    """Streams a form's file to MEDIA_TMP."""

    def new_file(self, *args, **kwargs):
        """Opens the file that the chunks are written to."""
        super().new_file(*args, **kwargs)
        self.file = ClosedTemporaryUploadedFile(
            self.file_name, self.content_type, 0, self.charset, self.content_type_extra
        )

    def receive_data_chunk(self, raw_data, start):
        """Writes one chunk."""
        self.file.write(raw_data)

    def file_complete(self, file_size):
        """Closes the file and hands it on; ``file_size`` in bytes."""
        self.file.size = file_size
        self.file.close()
        return self.file
