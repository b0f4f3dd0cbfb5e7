"""The data plane alone between two hosts made of Scapy frames; the test is its clock."""
