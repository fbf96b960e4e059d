"""S3, path style."""

import base64
import hashlib
import re
import urllib.parse

from aws import answer, models, parse, policy
from aws.errors import AwsError
from aws.models import REGION
from aws.store import Bucket

KEPT = ("ContentType", "Metadata", "CacheControl", "ContentEncoding", "ContentDisposition", "ContentLanguage")


class S3:
    def __init__(self, root, faults, knobs):
        self.root, self.faults, self.knobs = root, faults, knobs
        self.buckets = {}

    def bucket(self, name):
        """For the tests: the bucket, made if need be."""
        if name not in self.buckets:
            self.buckets[name] = Bucket(self.root, name)
        return self.buckets[name]

    def open_uploads(self):
        return [(b.name, u.key) for b in self.buckets.values() for u in b.uploads.values()]

    # ---- which operation

    def operation(self, request):
        if "Transfer-Encoding" in request.headers:
            raise AwsError("NotImplemented", "A header you provided implies functionality that is not implemented",
                           501)
        bucket, _, key = request.path.lstrip("/").partition("/")
        query = dict(urllib.parse.parse_qsl(request.query, keep_blank_values=True))
        params = {"Bucket": urllib.parse.unquote(bucket)}
        if key:
            params["Key"] = urllib.parse.unquote(key)
            if len(params["Key"].encode()) > 1024:
                raise AwsError("KeyTooLongError", "Your key is too long")
        name, taken = self._name(request, key, query)
        for word in taken:
            query.pop(word)
        service = models.model("s3").operation_model(name)
        return service, parse.rest_params(service, params, query, request.headers, request.body)

    def _name(self, request, key, query):
        """Operation, and the parameters of the query that are part of its name."""
        method, copies = request.method, "x-amz-copy-source" in request.headers
        part = "uploadId" in query and "partNumber" in query
        if key:
            table = {"PUT": ("UploadPartCopy" if part and copies else "UploadPart" if part
                             else "CopyObject" if copies else "PutObject"),
                     "GET": "GetObject", "HEAD": "HeadObject",
                     "DELETE": "AbortMultipartUpload" if "uploadId" in query else "DeleteObject",
                     "POST": "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload"}
            return table[method], ["uploads"] if method == "POST" and "uploads" in query else []
        words = {"uploads": "ListMultipartUploads", "location": "GetBucketLocation",
                 "lifecycle": "GetBucketLifecycleConfiguration", "list-type": "ListObjectsV2"}
        if method == "HEAD":
            return "HeadBucket", []
        if method == "POST" and "delete" in query:
            return "DeleteObjects", ["delete"]
        for word, name in words.items():
            if method == "GET" and word in query and (word != "list-type" or query[word] == "2"):
                return name, [word]
        raise AwsError("NotImplemented", f"the stand-in has no {method} {request.target}", 501)

    # ---- permission and answer

    def perform(self, who, operation, method, params):
        bucket = self.buckets.get(params["Bucket"])
        self._demand(who, operation.name, params)
        if not bucket:
            raise AwsError("NoSuchBucket", "The specified bucket does not exist", 404)
        members = method(bucket, params)
        status = members.pop("_status", 200)
        if "_error" in members:  # 200, and the body says that it failed
            kind, body = answer.error_answer("s3", members["_error"], "0")
            return 200, {"Content-Type": kind}, body
        headers, body = answer.rest_answer(operation, members)
        return status, headers, body

    def _demand(self, who, action, p):
        resource = f"arn:aws:s3:::{p['Bucket']}" + (f"/{p['Key']}" if "Key" in p else "")
        context = {"s3:prefix": p.get("Prefix", "")} if action == "ListObjectsV2" else {}
        if action == "DeleteObjects":
            for o in p["Delete"]["Objects"]:
                policy.demand(who, "s3", action, f"{resource}/{o['Key']}")
            return
        policy.demand(who, "s3", action, resource, context)
        if "CopySource" in p:
            policy.demand(who, "s3", "GetObject", "arn:aws:s3:::" + "/".join(self._source(p)))

    def _source(self, p):
        bucket, _, key = urllib.parse.unquote(p["CopySource"]).lstrip("/").partition("/")
        return bucket, key

    # ---- objects

    def PutObject(self, b, p):
        body = p.get("Body", b"")
        self._digest(p, body)
        if len(body) > self.knobs.put_limit:
            raise AwsError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size.")
        return {"ETag": b.put(p["Key"], body, self._kept(p)).etag}

    def _digest(self, p, body):
        if "ContentMD5" in p and base64.b64encode(hashlib.md5(body).digest()).decode() != p["ContentMD5"]:
            raise AwsError("BadDigest", "The Content-MD5 you specified did not match what we received.")

    def _kept(self, p):
        return {"ContentType": "binary/octet-stream", **{k: p[k] for k in KEPT if k in p}}

    def GetObject(self, b, p):
        found = b.get(p["Key"])
        body = found.body()
        members = self._about(found)
        if "Range" in p:
            first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", p["Range"]).groups()
            first, last = int(first), min(int(last or found.size), found.size - 1)
            if first >= found.size:
                raise AwsError("InvalidRange", "The requested range is not satisfiable", 416)
            body = body[first:last + 1]
            members.update(ContentRange=f"bytes {first}-{last}/{found.size}", _status=206,
                           ContentLength=len(body))
        return {**members, "Body": body}

    def HeadObject(self, b, p):
        return self._about(b.get(p["Key"]))

    def _about(self, o):
        return {"ContentLength": o.size, "ETag": o.etag, "LastModified": o.modified, "AcceptRanges": "bytes",
                **o.headers}

    def DeleteObject(self, b, p):
        b.delete(p["Key"])
        return {"_status": 204}

    def DeleteObjects(self, b, p):
        for o in p["Delete"]["Objects"]:
            b.delete(o["Key"])
        return {"Deleted": [{"Key": o["Key"]} for o in p["Delete"]["Objects"]]}

    def CopyObject(self, b, p):
        if self.faults.take("CopyObject", "error_in_200"):
            return {"_error": AwsError("InternalError", "We encountered an internal error. Please try again.")}
        source = self._copied(p)
        if source.size > self.knobs.copy_limit:
            raise AwsError("InvalidRequest", "The specified copy source is larger than the maximum allowable size "
                           f"for a copy source: {self.knobs.copy_limit}")
        replace = p.get("MetadataDirective") == "REPLACE"
        made = b.put(p["Key"], source.body(), self._kept(p) if replace else source.headers)
        return {"CopyObjectResult": {"ETag": made.etag, "LastModified": made.modified}}

    def _copied(self, p):
        bucket, key = self._source(p)
        if bucket not in self.buckets:
            raise AwsError("NoSuchBucket", "The specified bucket does not exist", 404)
        return self.buckets[bucket].get(key)

    # ---- listings

    def ListObjectsV2(self, b, p):
        keys = b.keys(p.get("Prefix", ""))
        after = p.get("StartAfter", "")
        if "ContinuationToken" in p:
            try:
                after = base64.b64decode(p["ContinuationToken"], validate=True).decode()
            except ValueError:
                raise AwsError("InvalidArgument", "The continuation token provided is incorrect") from None
        keys = [k for k in keys if k.encode() > after.encode()]
        limit = min(p.get("MaxKeys", 1000), self.knobs.s3_page)
        entries, last = self._group(keys, p.get("Prefix", ""), p.get("Delimiter"), limit)
        url = p.get("EncodingType") == "url"
        encode = (lambda text: urllib.parse.quote_plus(text, safe="/")) if url else str
        members = {
            "Name": b.name, "Prefix": encode(p.get("Prefix", "")), "MaxKeys": p.get("MaxKeys", 1000),
            "KeyCount": len(entries), "IsTruncated": last is not None,
            "Contents": [{"Key": encode(k), "LastModified": b.objects[k].modified, "ETag": b.objects[k].etag,
                          "Size": b.objects[k].size, "StorageClass": "STANDARD"} for k, plain in entries if plain],
            "CommonPrefixes": [{"Prefix": encode(k)} for k, plain in entries if not plain]}
        members.update({k: p[k] for k in ("Delimiter", "EncodingType", "StartAfter", "ContinuationToken") if k in p})
        if last is not None:
            members["NextContinuationToken"] = base64.b64encode(last.encode()).decode()
        return members

    def _group(self, keys, prefix, delimiter, limit):
        """([(key, True) or (common prefix, False)], key to go on after or None)."""
        entries, last = [], None
        for key in keys:
            rest = key[len(prefix):]
            folded = delimiter and delimiter in rest
            entry = (prefix + rest.split(delimiter)[0] + delimiter, False) if folded else (key, True)
            if entries and entries[-1] == entry:
                last = key
                continue
            if len(entries) == limit:
                return entries, last
            entries.append(entry)
            last = key
        return entries, None

    def HeadBucket(self, b, p):
        return {}

    def GetBucketLocation(self, b, p):
        return {"LocationConstraint": REGION}

    def GetBucketLifecycleConfiguration(self, b, p):
        raise AwsError("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist", 404)

    # ---- multipart uploads

    def CreateMultipartUpload(self, b, p):
        upload = b.begin(p["Key"], self._kept(p))
        return {"Bucket": b.name, "Key": p["Key"], "UploadId": upload.id}

    def UploadPart(self, b, p):
        body = p.get("Body", b"")
        self._digest(p, body)
        upload = b.upload(p["Key"], p["UploadId"])
        return {"ETag": b.put_part(upload, self._number(p), body).etag}

    def _number(self, p):
        if not 1 <= p["PartNumber"] <= 10000:
            raise AwsError("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
        return p["PartNumber"]

    def UploadPartCopy(self, b, p):
        upload, source = b.upload(p["Key"], p["UploadId"]), self._copied(p)
        body = source.body()
        if "CopySourceRange" in p:
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", p["CopySourceRange"])
            if not match or int(match[2]) >= source.size or int(match[1]) > int(match[2]):
                raise AwsError("InvalidArgument", "The x-amz-copy-source-range is not valid for the source")
            body = body[int(match[1]):int(match[2]) + 1]
        if len(body) > self.knobs.copy_limit:
            raise AwsError("InvalidRequest", "The specified copy source is larger than the maximum")
        part = b.put_part(upload, self._number(p), body)
        return {"CopyPartResult": {"ETag": part.etag, "LastModified": part.modified}}

    def CompleteMultipartUpload(self, b, p):
        if self.faults.take("CompleteMultipartUpload", "error_in_200"):
            return {"_error": AwsError("InternalError", "We encountered an internal error. Please try again.")}
        upload = b.upload(p["Key"], p["UploadId"])
        wanted = p.get("MultipartUpload", {}).get("Parts", [])
        numbers = [w["PartNumber"] for w in wanted]
        if not wanted or numbers != sorted(set(numbers)):
            raise AwsError("InvalidPartOrder", "The list of parts was not in ascending order.")
        for w in wanted:
            part = upload.parts.get(w["PartNumber"])
            if not part or part.etag.strip('"') != w.get("ETag", "").strip('"'):
                raise AwsError("InvalidPart", "One or more of the specified parts could not be found.")
            if w is not wanted[-1] and part.size < self.knobs.part_minimum:
                raise AwsError("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
        parts = [upload.parts[n] for n in numbers]
        digests = b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)
        made = b.put(p["Key"], b"".join(part.body() for part in parts), upload.headers,
                     f'"{hashlib.md5(digests).hexdigest()}-{len(parts)}"')
        b.end(upload)
        return {"Bucket": b.name, "Key": p["Key"], "ETag": made.etag, "Location": f"/{b.name}/{p['Key']}"}

    def AbortMultipartUpload(self, b, p):
        b.end(b.upload(p["Key"], p["UploadId"]))
        return {"_status": 204}

    def ListMultipartUploads(self, b, p):
        return {"Bucket": b.name, "IsTruncated": False, "MaxUploads": 1000, "Uploads": [
            {"Key": u.key, "UploadId": u.id, "Initiated": u.started} for u in b.uploads.values()
            if u.key.startswith(p.get("Prefix", ""))]}
