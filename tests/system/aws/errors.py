"""Errors as AWS answers them."""


class AwsError(Exception):
    def __init__(self, code, message, status=400, **members):
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.members = code, message, status, members
