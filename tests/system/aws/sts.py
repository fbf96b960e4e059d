"""STS: credentials for a while, and who one is."""

import datetime

from aws import policy
from aws.errors import AwsError
from aws.models import ACCOUNT


class Sts:
    def __init__(self, identities, knobs):
        self.identities, self.knobs = identities, knobs
        self.roles = {}  # ARN → list of policies
        self.web_tokens = {}  # token → role ARN that it may assume
        self.handed_out = []  # Identity, oldest first

    def role(self, name, policy_text=None):
        arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
        self.roles[arn] = [policy.parse(policy_text)] if policy_text else []
        return arn

    def AssumeRole(self, who, p):
        if p["RoleArn"] not in self.roles:
            raise AwsError("AccessDenied", f"User: {who.arn} is not authorized to perform: sts:AssumeRole on "
                           f"resource: {p['RoleArn']}", 403)
        return self._session(p)

    def AssumeRoleWithWebIdentity(self, who, p):
        if self.web_tokens.get(p["WebIdentityToken"]) != p["RoleArn"]:
            raise AwsError("InvalidIdentityToken", "No OpenIDConnect provider found in your account")
        answer = self._session(p)
        return {**answer, "SubjectFromWebIdentityToken": "system:serviceaccount:agents:cleatd",
                "Provider": "oidc.example", "Audience": "sts.amazonaws.com"}

    def needs(self, action, p):
        yield action, p.get("RoleArn", "*"), {}

    def _session(self, p):
        policies = list(self.roles[p["RoleArn"]])
        if "Policy" in p:
            if len(p["Policy"]) > 2048:
                raise AwsError("PackedPolicyTooLarge", "the session policy is too large")
            policies.append(policy.parse(p["Policy"]))
        role = p["RoleArn"].rsplit("/", 1)[-1]
        arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{p['RoleSessionName']}"
        life_s = self.knobs.credential_life_s or p.get("DurationSeconds", 3600)
        made = self.identities.mint(arn, life_s, policies)
        self.handed_out.append(made)
        return {"Credentials": {"AccessKeyId": made.key, "SecretAccessKey": made.secret,
                                "SessionToken": made.token,
                                "Expiration": made.expires.replace(microsecond=0) + datetime.timedelta(seconds=1)},
                "AssumedRoleUser": {"AssumedRoleId": f"AROA{role.upper()}:{p['RoleSessionName']}", "Arn": arn}}

    def GetCallerIdentity(self, who, p):
        return {"UserId": who.key, "Account": ACCOUNT, "Arn": who.arn}
