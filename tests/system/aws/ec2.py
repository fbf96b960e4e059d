"""EC2, as far as subnets go."""

from aws.errors import AwsError


class Ec2:
    def __init__(self, subnets):
        self.subnets = subnets

    def needs(self, action, p):
        yield action, "*", {}

    def DescribeSubnets(self, who, p):
        if "Filters" in p:
            raise AwsError("InvalidParameterValue", "the stand-in has no filters")
        wanted = p.get("SubnetIds")
        found = [s for s in self.subnets if wanted is None or s["SubnetId"] in wanted]
        missing = set(wanted or []) - {s["SubnetId"] for s in found}
        if missing:
            raise AwsError("InvalidSubnetID.NotFound", f"The subnet ID '{sorted(missing)[0]}' does not exist")
        return {"Subnets": found}
