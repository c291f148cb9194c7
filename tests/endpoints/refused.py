"""What every refusal looks like."""


def refused(response, status, code, param=None):
    """Assert the contract's error shape and return the error object."""
    assert response.status_code == status, response.data
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["x-should-retry"] in ("true", "false")
    assert response.headers["x-gateway-error-source"] in ("gateway", "upstream")
    assert list(response.json) == ["error"]
    error = response.json["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert (error["code"], error["param"]) == (code, param)
    return error
