"""Harbor Support: a made-up help desk with tickets, replies, annotators and a rubric judge."""
