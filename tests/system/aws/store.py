"""Buckets with their objects on disk, and the multipart uploads that are still open."""

import hashlib
import pathlib
import threading
import uuid

from aws.errors import AwsError
from aws.parse import utc_now


class Object:
    def __init__(self, path, key, body, headers, etag=None):
        self.path, self.key, self.size = path, key, len(body)
        self.headers = headers  # content type, metadata …: members of GetObject's output
        self.etag = etag or f'"{hashlib.md5(body).hexdigest()}"'
        self.modified = utc_now()

    def body(self):
        return self.path.read_bytes()


class Upload:
    def __init__(self, key, headers):
        self.id, self.key, self.headers = uuid.uuid4().hex, key, headers
        self.parts = {}  # number → Object
        self.started = utc_now()


class Bucket:
    def __init__(self, root, name):
        self.root, self.name = pathlib.Path(root) / name, name
        self.root.mkdir(parents=True)
        self.objects, self.uploads = {}, {}
        self.lock = threading.RLock()

    def put(self, key, body, headers=None, etag=None):
        made = Object(self._write(body), key, body, headers or {}, etag)
        with self.lock:
            old = self.objects.get(key)
            self.objects[key] = made
        if old:
            old.path.unlink()
        return made

    def _write(self, body):
        path = self.root / uuid.uuid4().hex
        path.write_bytes(body)
        return path

    def get(self, key):
        with self.lock:
            if key not in self.objects:
                raise AwsError("NoSuchKey", "The specified key does not exist.", 404, Key=key)
            return self.objects[key]

    def delete(self, key):
        with self.lock:
            old = self.objects.pop(key, None)
        if old:
            old.path.unlink()

    def keys(self, prefix=""):
        with self.lock:
            return sorted((k for k in self.objects if k.startswith(prefix)), key=str.encode)

    def read(self, key):
        return self.get(key).body()

    # multipart uploads

    def begin(self, key, headers):
        upload = Upload(key, headers)
        with self.lock:
            self.uploads[upload.id] = upload
        return upload

    def upload(self, key, number):
        with self.lock:
            found = self.uploads.get(number)
            if not found or found.key != key:
                raise AwsError("NoSuchUpload", "The specified multipart upload does not exist.", 404)
            return found

    def put_part(self, upload, number, body):
        part = Object(self._write(body), upload.key, body, {})
        with self.lock:
            old = upload.parts.get(number)
            upload.parts[number] = part
        if old:
            old.path.unlink()
        return part

    def end(self, upload):
        with self.lock:
            self.uploads.pop(upload.id, None)
        for part in upload.parts.values():
            part.path.unlink(missing_ok=True)
