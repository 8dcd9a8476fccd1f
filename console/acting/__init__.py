"""What a person lets be done to a server.

Through the receiver, or directly where no receiver runs and the person says so.
"""
