"""What the AWS account has: the stack, its rules, queues, archive, secret and activity. These modules print nothing."""
