"""A simulation of the template's alarms: what each way to lose events raises, and after how long."""
