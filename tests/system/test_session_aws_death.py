"""Tasks of ECS that die under their sessions."""

import pytest

from aws_harness import BUCKET, Aws
from death_help import check_closed, check_replaced, killed_during, open_session, options


@pytest.mark.parametrize("balancer, policy", [("direct", "fail"), ("alb", "replace")])
def test_killed(start, balancer, policy):
    aws = start.add(Aws(start.root / "aws", clean=True).start())
    for name in ("a.txt", "b.txt"):
        aws.client("s3").put_object(Bucket=BUCKET, Key=f"in/{name}", Body=name.encode())
    classes = {"default": aws.class_options(balancer, **{
        **options("x", on_death=policy), "input_sources": [f"*=s3://{BUCKET}/in"]})}
    api = start.cleatd(classes=classes, environment=aws.environment()).api
    session = open_session(api, f"s3://{BUCKET}/in")
    with killed_during(api, session, lambda: aws.task_of(session).kill(), 30) as third:
        (check_closed if policy == "fail" else check_replaced)(api, session, third)
