"""A stand-in for the parts of AWS that cleat uses: ECS, ELBv2, S3, STS, EC2 and the places where
credentials come from. Requests are checked against botocore's signer and service models, answers
are built from those models; tasks are real processes and the load balancer is a real HAProxy."""
