"""Answers to the exercises of lesson 01: the solution, other right ones, and wrong ones with words of their feedback."""


# %% ex-01-1
def route_of(service: str, namespace: str, port: int) -> str:
    scheme = "https" if port in (443, 8443) else "http"
    return f"{scheme}://{service}.{namespace}.svc.cluster.local:{port}"


# %% ex-01-1 also
def route_of(service, namespace, port):
    return read_address(f"{service}.{namespace}.svc.cluster.local:{port}").url + "/"


# %% ex-01-1 wrong: needs the scheme
def route_of(service, namespace, port):
    return f"{service}.{namespace}.svc.cluster.local:{port}"


# %% ex-01-1 wrong: begins with the service
def route_of(service, namespace, port):
    return f"http://{namespace}.{service}.svc.cluster.local:{port}"


# %% ex-01-1 wrong: end in .svc.cluster.local
def route_of(service, namespace, port):
    return f"http://{service}.{namespace}:{port}"


# %% ex-01-1 wrong: The port is missing
def route_of(service, namespace, port):
    return f"http://{service}.{namespace}.svc.cluster.local"


# %% ex-01-1 wrong: does not fit port 8443
def route_of(service, namespace, port):
    return f"http://{service}.{namespace}.svc.cluster.local:{port}"


# %% ex-01-1 wrong: does not fit port 8080
def route_of(service, namespace, port):
    scheme = "http" if port == 5000 else "https"
    return f"{scheme}://{service}.{namespace}.svc.cluster.local:{port}"


# %% ex-01-1 wrong: does not fit port 1443
def route_of(service, namespace, port):
    scheme = "https" if str(port).endswith("443") else "http"
    return f"{scheme}://{service}.{namespace}.svc.cluster.local:{port}"


# %% ex-01-1 wrong: A route is a text
def route_of(service, namespace, port):
    print(service)


# %% ex-01-1 wrong: stopped with TypeError
def route_of(service, namespace):
    return service


# %% ex-01-2
menders = {"A": "you", "B": "the administrator of the server", "C": "nobody yet: wait"}

# %% ex-01-2 wrong: For A you chose the administrator
menders = {"A": "the administrator of the server", "B": "you", "C": "nobody yet: wait"}

# %% ex-01-2 wrong: without your name
menders = {"A": "you", "B": "you", "C": "nobody yet: wait"}

# %% ex-01-2 wrong: nobody has to change anything
menders = {"A": "you", "B": "the administrator of the server", "C": "the administrator of the server"}

# %% ex-01-2 wrong: no answer for C
menders = {"A": "you", "B": "the administrator of the server"}

# %% ex-01-2 wrong: must be one of
menders = {"A": "me", "B": "you", "C": "you"}
