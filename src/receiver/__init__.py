"""The Lambda function behind the URL. Start to read in `app.py`, then `receiver.py`."""
